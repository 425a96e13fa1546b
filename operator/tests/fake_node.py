#!/usr/bin/env python3
"""A node that only has an admin interface and health, for tests of the local platform.

Its facts lie in fake.json in its data directory; a backend's transfers change its destination's file, too, so all
are read and written under one lock. Units are put there by POST /fake/units?root=ROOT&bytes=N on the metrics port.
A transfer takes some looks at it; that of user.broken always fails, that of user.slow does not end.
"""

import contextlib
import fcntl
import glob
import http.server
import json
import os
import re
import ssl
import sys
import threading
import urllib.parse
import uuid

LOOKS = 4


class Settings:
    def __init__(self, path):
        text = open(path).read()
        self.one = lambda key: re.search(rf"^ *{key}: (.*)$", text, re.M).group(1)
        self.listener = lambda key: self.one(key).rsplit(":", 1)
        self.role, self.name, self.server = self.one("role"), self.one("name"), self.one("server")
        self.data = self.one("dataDir")
        self.volumes = os.path.dirname(self.data)


@contextlib.contextmanager
def facts(settings, server=None):
    """The facts of a server, written back at the end."""
    path = os.path.join(settings.volumes, server or settings.server, "fake.json")
    with open(path) as file:
        found = json.load(file)
    yield found
    with open(path + ".new", "w") as file:
        json.dump(found, file)
    os.rename(path + ".new", path)


@contextlib.contextmanager
def lock(settings):
    with open(os.path.join(settings.volumes, "..", "fake.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def start(settings):
    with lock(settings):
        path = os.path.join(settings.data, "fake.json")
        os.makedirs(settings.data, exist_ok=True)
        if not os.path.exists(path):
            new = {"serverId": str(uuid.uuid4()), "incarnation": 0, "fence": 0, "cordoned": False,
                   "deactivated": False, "units": [], "transfers": [], "rows": {}}
            with open(path, "w") as file:
                json.dump(new, file)
        with facts(settings) as mine:
            mine["incarnation"] += 1


def status(settings, mine):
    answer = {"name": settings.name, "server": settings.server, "role": settings.role, "version": "0", "ready": True,
              "fence": mine["fence"], "term": 1, "sessions": 0}
    if settings.role in ("backend", "unified"):
        part = lambda *states: [unit for unit in mine["units"] if unit["state"] in states]
        owned = part("Owner")
        answer["backend"] = {
            "serverId": mine["serverId"], "incarnation": mine["incarnation"], "cordoned": mine["cordoned"],
            "deactivated": mine["deactivated"], "units": len(owned), "unitsInDoubt": len(part("Released")),
            "unitsStaged": len(part("Staging", "Prepared")), "unitsGrace": len(part("Moved")),
            "mailboxes": 3 * len(owned), "messages": len(owned), "bytes": sum(unit["bytes"] for unit in owned),
            "outbox": 0, "held": 0,
            "partitions": [{"name": "default", "freeBytes": 1 << 40, "totalBytes": 1 << 40}]}
    return answer


def advance(settings, mine):
    for transfer in mine["transfers"]:
        if transfer["phase"] in ("Done", "Failed", "Cancelled"):
            continue
        if transfer["root"] == "user.broken":
            transfer.update(phase="Failed", error="digests differ")
            continue
        transfer["phase"] = "Copying"
        if transfer["root"] == "user.slow":
            continue
        transfer["bytesSent"] += -(-transfer["bytesTotal"] // LOOKS)
        if transfer["bytesSent"] < transfer["bytesTotal"]:
            continue
        transfer.update(phase="Done", bytesSent=transfer["bytesTotal"])
        unit = next(unit for unit in mine["units"] if unit["root"] == transfer["root"])
        with facts(settings, transfer["destination"]) as theirs:
            theirs["units"] = [other for other in theirs["units"] if other["root"] != unit["root"]]
            theirs["units"].append(dict(unit, epoch=unit["epoch"] + 1))
        unit["state"] = "Moved"


def rows(settings, mine):
    """What a master knows: its own flags, and what lies on the volumes beside it."""
    for path in sorted(glob.glob(os.path.join(settings.volumes, "*", "fake.json"))):
        with open(path) as file:
            other = json.load(file)
        name = os.path.basename(os.path.dirname(path))
        if name == settings.server or ".retired-" in name:
            continue
        row = mine["rows"].setdefault(other["serverId"], {"cordoned": False, "retired": False})
        owned = sum(unit["state"] in ("Owner", "Released") for unit in other["units"])
        row.update(server=name, serverId=other["serverId"], incarnation=other["incarnation"], units=owned,
                   names=3 * owned)
    return sorted(mine["rows"].values(), key=lambda row: row["server"])


class Refused(Exception):
    pass


def answer(settings, method, path, body):
    with lock(settings), facts(settings) as mine:
        if method == "POST":
            if body["fence"] < mine["fence"]:
                raise Refused("Fenced", f"fence {body['fence']} is below {mine['fence']}")
            mine["fence"] = body["fence"]
        parts = path.partition("?")[0].strip("/").split("/")
        match [method, *parts[1:]]:
            case ["GET", "status"]:
                return status(settings, mine)
            case ["GET", "units"]:
                return {"units": mine["units"]}
            case ["GET", "transfers"]:
                advance(settings, mine)
                return {"transfers": mine["transfers"]}
            case ["POST", "transfers"]:
                known = [t for t in mine["transfers"] if t["moveId"] == body["moveId"]]
                if not known:
                    unit = next(unit for unit in mine["units"] if unit["root"] == body["root"])
                    known = [{"moveId": body["moveId"], "root": body["root"], "destination": body["destination"],
                              "phase": "Queued", "attempts": 1, "mailboxes": 3, "bytesSent": 0,
                              "bytesTotal": unit["bytes"], "freezeMs": 0}]
                    mine["transfers"] += known
                return known[0]
            case ["POST", "transfers", move, "cancel"]:
                transfer = next(transfer for transfer in mine["transfers"] if transfer["moveId"] == move)
                if transfer["phase"] not in ("Done", "Failed"):
                    transfer["phase"] = "Cancelled"
                return transfer
            case ["POST", "cordon"]:
                mine["cordoned"] = body["cordoned"]
                mine["deactivated"] = mine["deactivated"] and body["cordoned"]
                return status(settings, mine)
            case ["POST", "deactivate"]:
                mine["cordoned"] = mine["deactivated"] = True
                return status(settings, mine)
            case ["GET", "servers"]:
                return {"servers": rows(settings, mine)}
            case ["POST", "servers", name, verb]:
                living = [row for row in rows(settings, mine) if row["server"] == name and not row["retired"]]
                if not living:
                    raise Refused("NotFound", f"no server {name}")
                if verb == "cordon":
                    living[0]["cordoned"] = body["cordoned"]
                elif living[0]["serverId"] != body["serverId"] or living[0]["units"] > 0:
                    raise Refused("OwnsUnits", f"{name} owns units or is another")
                else:
                    living[0]["retired"] = True
                return living[0]
        raise Refused("NotFound", f"{method} {path}")


class Handler(http.server.BaseHTTPRequestHandler):
    def do(self):
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        settings = self.server.settings
        if not self.server.is_admin:
            if self.path.startswith("/fake/units?"):
                query = dict(urllib.parse.parse_qsl(self.path.split("?")[1]))
                unit = {"unit": uuid.uuid4().hex, "root": query["root"], "partition": "default", "state": "Owner",
                        "epoch": 1, "mailboxes": 3, "messages": 1, "bytes": int(query["bytes"])}
                with lock(settings), facts(settings) as mine:
                    mine["units"].append(unit)
            return self.reply(200, {})
        names = self.connection.getpeercert().get("subjectAltName", ())
        if not any(kind == "URI" and name.split("/")[3] == "operator" for kind, name in names):
            return self.reply(403, {"reason": "NotAllowed", "message": str(names)})
        try:
            self.reply(200, answer(settings, self.command, self.path, body))
        except Refused as refused:
            reason, message = refused.args
            self.reply(409, {"reason": reason, "message": message})

    do_GET = do_POST = do

    def reply(self, code, value):
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments):
        pass


def serve(settings, key, is_admin):
    host, port = settings.listener(key)
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    server.settings, server.is_admin = settings, is_admin
    if is_admin:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.one("ca"))
        context.load_cert_chain(settings.one("certificate"), settings.one("key"))
        context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def main():
    settings = Settings(sys.argv[sys.argv.index("-c") + 1])
    if sys.argv[1] == "passwd":
        with open(settings.one("accounts"), "a") as file:
            file.write(sys.argv[-1] + ":" + sys.stdin.read() + "\n")
        return
    start(settings)
    threading.Thread(target=serve(settings, "admin", True).serve_forever, daemon=True).start()
    serve(settings, "metrics", False).serve_forever()


main()
