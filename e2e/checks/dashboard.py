#!/usr/bin/env python3
"""Runs every query of a dashboard with a real Prometheus over metrics that the programs printed.

    dashboard.py DASHBOARD --rules RULES METRICS...   METRICS: a file of /metrics text, FILE or FILE,label=value,...
    dashboard.py --list DASHBOARD                     the queries, after a look at the file's shape

A query fails if Prometheus cannot run it, if it uses a metric that no file has (--may-lack REGEX lets some pass), or if
it yields nothing though its metrics are there; one that filters by comparison may yield nothing. Without a label
`pod` the file's name is one; without `namespace` it is `mail`. Exit: 0 all is well, 1 a query failed, 2 cannot run.
"""

import argparse
import functools
import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

WAIT_SECONDS = 60
SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def queries(path):
    """(panel, expression) of every target; raises ValueError if the dashboard is not whole."""
    dashboard = json.loads(Path(path).read_text(encoding="utf-8"))
    found, ids = [], set()
    for key in ("title", "uid", "schemaVersion", "templating", "panels"):
        if key not in dashboard:
            raise ValueError(f"no {key}")
    for panel in dashboard["panels"]:
        if panel["id"] in ids:
            raise ValueError(f"two panels have the id {panel['id']}")
        ids.add(panel["id"])
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            raise ValueError(f"panel {panel['title']} is wider than the page")
        if panel["type"] != "row" and not panel.get("targets"):
            raise ValueError(f"panel {panel['title']} has no query")
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", [])]
    return found


def recorded(path):
    """Recording rules, by name."""
    groups = yaml.safe_load(Path(path).read_text(encoding="utf-8"))["groups"]
    return {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}


def expanded(expression, rules):
    """The expression with its recording rules put in, for a look at what it uses."""
    while True:
        names = [name for name in rules if name in expression]
        if not names:
            return expression
        for name in names:
            expression = expression.replace(name, f"({rules[name]})")


def metrics_in(text):
    return {match.group(1) for match in re.finditer(r"(?m)^([a-zA-Z_:][\w:]*)[{ ]", text)}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves the metrics files."""

    extensions_map = {"": "text/plain; version=0.0.4"}

    def log_message(self, *_):
        pass


class Prometheus:
    """A Prometheus on loopback that scrapes the files."""

    def __init__(self, directory, targets, rules, files_port):
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        jobs = [
            {
                "job_name": name,
                "metrics_path": f"/{name}",
                "honor_labels": True,
                "static_configs": [{"targets": [f"127.0.0.1:{files_port}"], "labels": labels}],
            }
            for name, labels in targets.items()
        ]
        settings = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(Path(rules).resolve())],
            "scrape_configs": jobs,
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.log = open(directory / "prometheus.log", "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def query(self, expression):
        """The samples, or ValueError with what Prometheus says."""
        address = f"{self.address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error

    def wait(self, expression, count):
        """Until a query yields so many samples."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if len(self.query(expression)) >= count:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.2)
        self.log.seek(0)
        sys.exit(f"dashboard: {expression} has not {count} samples after {WAIT_SECONDS} s\n{self.log.read()[-2000:]}")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()


def check(prometheus, found, rules, known, may_lack):
    failures = []
    for panel, expression in found:
        runnable = re.sub(r"\$(namespace|cluster)\b", ".*", expression).replace("$__rate_interval", "30s")
        used = set(re.findall(r"\bmurder_\w+", expanded(expression, rules)))
        lacking = {name for name in used if name not in known and SUFFIXES.sub("", name) not in known}
        try:
            samples = prometheus.query(runnable)
        except ValueError as error:
            failures.append(f"{panel}: {error}: {expression}")
            continue
        if lacking:
            if not (may_lack and all(may_lack.search(name) for name in lacking)):
                failures.append(f"{panel}: nothing prints {', '.join(sorted(lacking))}")
        elif not samples and not re.search(r"[<>]", expanded(expression, rules)):
            failures.append(f"{panel}: yields nothing: {runnable}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--rules")
    parser.add_argument("--may-lack", type=re.compile)
    parser.add_argument("dashboard")
    parser.add_argument("metrics", nargs="*")
    options = parser.parse_args()
    try:
        found = queries(options.dashboard)
    except (ValueError, KeyError) as error:
        sys.exit(f"dashboard: {options.dashboard}: {error}")
    if options.list:
        print("\n".join(f"{panel}: {expression}" for panel, expression in found))
        return
    if not options.metrics or not options.rules:
        parser.error("--rules and at least one file of metrics are needed")
    if not shutil.which("prometheus"):
        print("dashboard: prometheus is missing", file=sys.stderr)
        sys.exit(2)

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "metrics").mkdir()
        targets, known = {}, set()
        for number, argument in enumerate(options.metrics):
            file, *labels = argument.split(",")
            text = Path(file).read_text(encoding="utf-8")
            known |= metrics_in(text)
            (directory / "metrics" / str(number)).write_text(text, encoding="utf-8")
            given = dict(label.split("=", 1) for label in labels)
            targets[str(number)] = {"namespace": "mail", "pod": Path(file).stem, **given}
        handler = functools.partial(Files, directory=directory / "metrics")
        files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=files.serve_forever, daemon=True).start()
        prometheus = Prometheus(directory, targets, options.rules, files.server_address[1])
        try:
            # Rates need two scrapes.
            prometheus.wait("up == 1 and count_over_time(up[1m]) >= 3", len(targets))
            rules = recorded(options.rules)
            failures = settled(prometheus, found, rules, known, options.may_lack)
        finally:
            prometheus.stop()
            files.shutdown()
    for failure in failures:
        print(f"dashboard: {failure}", file=sys.stderr)
    if failures:
        sys.exit(1)
    print(f"dashboard: {len(found)} queries over {len(known)} metrics are well")


def settled(prometheus, found, rules, known, may_lack):
    """What fails still when the recording rules have had time to be evaluated."""
    deadline = time.monotonic() + 20
    while True:
        failures = check(prometheus, found, rules, known, may_lack)
        if not failures or time.monotonic() > deadline or not any("yields nothing" in failure for failure in failures):
            return failures
        time.sleep(0.5)


if __name__ == "__main__":
    main()
