#!/usr/bin/env python3
"""A node that only says that it is ready, for tests of the local platform."""

import http.server
import re
import sys


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


settings = open(sys.argv[sys.argv.index("-c") + 1]).read()
if sys.argv[1] == "passwd":
    accounts = re.search(r"^accounts: (.*)$", settings, re.M).group(1)
    with open(accounts, "a") as file:
        file.write(sys.argv[-1] + ":" + sys.stdin.read() + "\n")
else:
    host, port = re.search(r"^  metrics: (.*):(\d+)$", settings, re.M).groups()
    http.server.ThreadingHTTPServer((host, int(port)), Ready).serve_forever()
