"""A load generator that costs little: one request at a time on each of some kept connections, bytes made beforehand."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Load:
    """What came of it: seconds in all, and each request's."""

    seconds: float = 0.0
    delays: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return len(self.delays) / self.seconds

    def quantile(self, share: float) -> float:
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(path: str, body: bytes, authorization: str = "") -> bytes:
    """A POST as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    if authorization:
        head += f"Authorization: {authorization}\r\n"
    return head.encode() + b"\r\n" + body


async def drive(host: str, port: int, requests: Iterator[bytes], connections: int) -> Load:
    """Send all `requests` over `connections`, each as soon as the last one was answered. Raises on any answer but 200."""
    load = Load()
    started = time.perf_counter()
    await asyncio.gather(*(_one(host, port, requests, load) for _ in range(connections)))
    load.seconds = time.perf_counter() - started
    return load


async def _one(host: str, port: int, requests: Iterator[bytes], load: Load) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for message in requests:
        sent = time.perf_counter()
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"answered {head[:200]!r}")
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
        load.delays.append(time.perf_counter() - sent)
    writer.close()
