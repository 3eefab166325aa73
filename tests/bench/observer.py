"""From POST to points, for single orders sent at a steady rate by a process of their own.

Every order is of a new customer. One connection waits for the bell that rewards rings, and asks PostgreSQL for all orders
that are due: what it finds is committed. For one in ten the REST API is then asked; that it shows the points is checked.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec

from libs.common.log.bell import CHANNEL
from libs.common.topics import REWARDS
from tests.bench.installation import Installation
from tests.bench.load import Connection, get, quantile
from tests.bench.paced import Spec

ASKED = 10
CONNECTIONS = 4
#: Seconds after which it is looked without a bell.
LONGEST = 0.02
PATIENCE = 60.0
#: The share of the orders, the first ones, that is not counted.
WARMING = 0.1

_FOUND = """
SELECT bound.value FROM rewards.identifiers AS bound JOIN rewards.customers AS customer ON customer.id = bound.customer
WHERE bound.kind = 'user' AND bound.value = ANY($1::text[]) AND customer.facts > 0
"""


@dataclass
class Seen:
    """Seconds from POST until committed (all orders) and until shown by GET (one in ten)."""

    committed: list[float] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)

    def describe(self) -> str:
        """p50 and p99, in milliseconds."""
        return f"{_quantiles(self.committed)} (by GET {_quantiles(self.shown)})"


def _quantiles(delays: Sequence[float]) -> str:
    return f"{quantile(delays, 0.5) * 1000:.1f} / {quantile(delays, 0.99) * 1000:.1f} ms"


async def observe(installation: Installation, rate: float, count: int) -> Seen:
    """Send `count` orders at `rate` a second, and see when each is visible. Raises RuntimeError when one never is."""
    prefix = uuid.uuid4().hex[:12]
    spec = Spec(installation.ports["ingest"], installation.basic, "orders", prefix, rate, count)
    sender = await start(spec)
    connection = await asyncpg.connect(installation.dsn, server_settings={"jit": "off", "enable_seqscan": "off"})
    try:
        observer = _Observer(installation, connection, spec, await begun(sender))
        await observer.run()
        sent = await sent_by(sender)
    finally:
        await connection.close()
        if sender.returncode is None:
            sender.kill()
    installation.sent += count
    counted = range(int(count * WARMING), count)
    return Seen(
        [observer.committed[number] - sent[number] for number in counted],
        [observer.shown[number] - sent[number] for number in counted if number in observer.shown],
    )


class _Observer:
    def __init__(
        self, installation: Installation, connection: "asyncpg.Connection[Any]", spec: Spec, begin: float
    ) -> None:
        self._port, self._token = installation.ports["rewards"], installation.token()
        self._connection, self._spec, self._begin = connection, spec, begin
        self._rung = asyncio.Event()
        self._idle: asyncio.Queue[Connection] = asyncio.Queue()
        self.committed: dict[int, float] = {}
        self.shown: dict[int, float] = {}

    async def run(self) -> None:
        await self._connection.add_listener(
            CHANNEL, lambda _, __, ___, topic: self._rung.set() if topic == REWARDS else None
        )
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(await Connection.open(self._port))
        unseen = dict.fromkeys(range(self._spec.count))
        moved = self._begin
        async with asyncio.TaskGroup() as asking:
            while unseen:
                await self._wait()
                due = (time.monotonic() - self._begin) * self._spec.rate
                pending = [number for number in unseen if number <= due]
                rows = await self._connection.fetch(_FOUND, [f"{self._spec.prefix}-{number}" for number in pending])
                now = time.monotonic()
                for (value,) in rows:
                    number = int(value.rpartition("-")[2])
                    del unseen[number]
                    self.committed[number], moved = now, now
                    if number % ASKED == 0:
                        asking.create_task(self._ask(number))
                if now - moved > PATIENCE:
                    raise RuntimeError(f"{len(unseen)} of {self._spec.count} orders have not become visible")

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LONGEST):
                await self._rung.wait()
        except TimeoutError:
            return
        self._rung.clear()

    async def _ask(self, number: int) -> None:
        path = f"/v1/customers/user:{self._spec.prefix}-{number}/points"
        connection = await self._idle.get()
        answer = json.loads(await connection.ask(get(path, self._token)))
        self.shown[number] = time.monotonic()
        self._idle.put_nowait(connection)
        if answer["available"] <= 0:
            raise RuntimeError(f"{path} was answered {answer} after the points had been committed")


async def start(spec: Spec) -> asyncio.subprocess.Process:
    """Start a process that sends."""
    text = msgspec.json.encode(spec).decode()
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.paced", text, stdout=asyncio.subprocess.PIPE, limit=10_000_000
    )


async def begun(sender: asyncio.subprocess.Process) -> float:
    """When it begins, by `time.monotonic()`."""
    return float(await _line(sender))


async def sent_by(sender: asyncio.subprocess.Process) -> list[float]:
    """Wait for its end; when each body was sent. Raises RuntimeError when it failed."""
    sent: list[float] = json.loads(await _line(sender))
    await sender.wait()
    return sent


async def _line(sender: asyncio.subprocess.Process) -> bytes:
    line = await sender.stdout.readline() if sender.stdout else b""
    if not line:
        raise RuntimeError(f"the process that sends has ended with {await sender.wait()}")
    return line
