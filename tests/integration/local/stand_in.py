"""A tiny program in a service's place: answers 200 to everything on the port given.

stand_in.py PORT [deaf | broken | stuck]: deaf ignores SIGTERM, broken says why and ends, stuck says of itself that it is dead.
"""

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if "stuck" in sys.argv and self.path == "/livez" else 200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


if "broken" in sys.argv:
    sys.exit("the database has the wrong shape")
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
