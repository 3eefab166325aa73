"""A proxy in front of ingest that does what networks and busy servers do, a few times; then it lets everything pass."""

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

from tests.http_server import QuietHandler

Trouble = Literal["none", "429", "503", "cut", "restart"]
TROUBLES: tuple[Trouble, ...] = ("none", "429", "503", "cut", "restart")
#: So many requests with events meet it.
TIMES = 4
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


class Network:
    """What the next requests with events meet. `kill` ends ingest, which is started again."""

    def __init__(self, target: str, kill: Callable[[], None]) -> None:
        self.target = urlsplit(target)
        self._kill = kill
        self._lock = threading.Lock()
        self._trouble: Trouble = "none"
        self._left = 0

    def begin(self, trouble: Trouble) -> None:
        """From now on there is this trouble, TIMES times."""
        with self._lock:
            self._trouble, self._left = trouble, TIMES

    @property
    def met(self) -> bool:
        """Whether a request has met it."""
        return self._trouble == "none" or self._left < TIMES

    def next(self) -> tuple[Trouble, int]:
        """The trouble of this request, and its number from 1."""
        with self._lock:
            if self._trouble == "none" or not self._left:
                return "none", 0
            self._left -= 1
            return self._trouble, TIMES - self._left

    def kill(self) -> None:
        self._kill()


def handler(network: Network) -> type[QuietHandler]:
    """The proxy's handler."""

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass(b"")

        def do_OPTIONS(self) -> None:
            self._pass(b"")

        def do_POST(self) -> None:
            body = self._body()
            trouble, number = network.next()
            match trouble:
                case "429" | "503":
                    self._answer(int(trouble), [("retry-after", "1"), ("content-type", "application/json")], b"{}")
                case "cut" if number % 2:
                    self._cut()
                case "cut":  # ingest has it; its answer is lost
                    self._pass(body, answers=False)
                    self._cut()
                case "restart" if number == 1:
                    self._pass(body)
                    network.kill()
                case _:
                    self._pass(body)

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _pass(self, body: bytes, *, answers: bool = True) -> None:
            connection = http.client.HTTPConnection(network.target.hostname or "", network.target.port, timeout=30)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            try:
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException):  # it is down: so is the connection through us
                self._cut()
                return
            finally:
                connection.close()
            if answers:
                self._answer(answer.status, answer.getheaders(), said)

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in _HOP | {"date", "server"}:
                    self.send_header(name, value)
            if not any(name.lower() == "access-control-allow-origin" for name, _ in headers):
                self.send_header("access-control-allow-origin", "*")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _cut(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.close()

    return Handler
