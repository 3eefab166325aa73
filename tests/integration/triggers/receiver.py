"""A receiver of webhooks on the loopback: real HTTP, answers as it is told, keeps what came."""

import threading
from collections import Counter
from typing import Any

import msgspec

from tests.http_server import HttpServer, QuietHandler


class Receiver(HttpServer):
    """`answers` are given one after the other, the last one for ever; an answer is a status, with headers if need be.
    While `hanging` is set no answer is given."""

    def __init__(self, *answers: int | tuple[int, dict[str, str]], host: str = "127.0.0.1", port: int = 0) -> None:
        self.answers = list(answers or (200,))
        self.hanging = threading.Event()
        self.go_on = threading.Event()
        self.came: list[tuple[dict[str, str], bytes]] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers = receiver.take({name.lower(): value for name, value in self.headers.items()}, body)
                if receiver.hanging.is_set():
                    receiver.go_on.wait(20)
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

        super().__init__(Handler, host, port)

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        super().__exit__(*_)

    @property
    def url(self) -> str:
        return f"{self.address}/hooks?shop=1"

    @property
    def ids(self) -> Counter[str]:
        """How often each message came."""
        with self._lock:
            return Counter(headers["webhook-id"] for headers, _ in self.came)

    def payload(self, place: int = 0) -> dict[str, Any]:
        payload: dict[str, Any] = msgspec.json.decode(self.came[place][1])
        return payload

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        with self._lock:
            self.came.append((headers, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, tuple) else (answer, {})
