"""A load generator that costs little: one request at a time on each of some kept connections, bytes made beforehand."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

HOST = "127.0.0.1"


@dataclass
class Load:
    """What came of it: seconds in all, and each request's."""

    seconds: float = 0.0
    delays: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.delays) / self.seconds


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all are not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(path: str, body: bytes, authorization: str = "") -> bytes:
    """A POST as bytes."""
    return _head("POST", path, authorization) + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def get(path: str, authorization: str) -> bytes:
    """A GET as bytes."""
    return _head("GET", path, authorization) + b"\r\n"


def _head(method: str, path: str, authorization: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return (head + (f"Authorization: {authorization}\r\n" if authorization else "")).encode()


class Connection(asyncio.Protocol):
    """A kept connection: one request at a time, each answered with a Content-Length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._taken: tuple[bytes, ...] = ()
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, port: int) -> "Connection":
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    async def ask(self, message: bytes, *, or_missing: bool = False) -> bytes:
        """The body of the answer. Raises RuntimeError on any status but 200 (or, if you like, 404), ConnectionError when it
        breaks."""
        if self._transport is None:
            raise ConnectionResetError("the connection is closed")
        self._buffer = b""
        self._taken = (b"200", b"404") if or_missing else (b"200",)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end or self._answer is None or self._answer.done():
            return
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        stop = lower.find(b"\r\n", at)
        if len(body) < int(lower[at:] if stop < 0 else lower[at:stop]):
            return
        if head[9:12] in self._taken:
            self._answer.set_result(body)
        else:
            self._answer.set_exception(RuntimeError(f"answered {self._buffer[:300]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the connection was closed before the answer"))


async def drive(port: int, requests: Iterator[bytes], connections: int) -> Load:
    """Send all `requests`, each as soon as its connection has the answer to the last one. Raises on any but 200."""
    load = Load()
    opened = await asyncio.gather(*(Connection.open(port) for _ in range(connections)))
    started = time.perf_counter()
    await asyncio.gather(*(_one(connection, requests, load) for connection in opened))
    load.seconds = time.perf_counter() - started
    for connection in opened:
        connection.close()
    return load


async def _one(connection: Connection, requests: Iterator[bytes], load: Load) -> None:
    for message in requests:
        sent = time.perf_counter()
        await connection.ask(message)
        load.delays.append(time.perf_counter() - sent)
