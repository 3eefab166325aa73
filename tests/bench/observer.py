"""From POST to points, for single orders sent at a steady rate by a process of their own.

Every order is of a new customer. When its points were committed PostgreSQL itself has noted (`track_commit_timestamp`): it is
asked once all have been sent, so that looking takes nothing from what is looked at. For one order in fifty the REST API is
asked as well, again and again until it shows the points.
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

from tests.bench.installation import Installation
from tests.bench.load import Connection, get, quantile
from tests.bench.paced import Spec

ASKED = 50
CONNECTIONS = 4
#: Seconds between two GETs for an order, and between two looks at what has been committed.
AGAIN, LOOKS = 0.005, 0.2
PATIENCE = 60.0
#: The share of the orders, the first ones, that is not counted.
WARMING = 0.1

_COMMITTED = """
SELECT bound.value, extract(epoch FROM min(pg_xact_commit_timestamp(entry.xmin)))::float8
FROM rewards.identifiers AS bound JOIN rewards.entries AS entry USING (customer)
WHERE bound.kind = 'user' AND bound.value = ANY($1::text[]) GROUP BY bound.value
"""


@dataclass
class Seen:
    """Seconds from POST until committed (all orders) and until shown by GET (one in fifty)."""

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
        self._idle: asyncio.Queue[Connection] = asyncio.Queue()
        self.committed: dict[int, float] = {}
        self.shown: dict[int, float] = {}

    async def run(self) -> None:
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(await Connection.open(self._port))
        async with asyncio.TaskGroup() as asking:
            for number in range(0, self._spec.count, ASKED):
                asking.create_task(self._ask(number))
        names = [f"{self._spec.prefix}-{number}" for number in range(self._spec.count)]
        ended, zero = time.monotonic(), time.monotonic() - time.time()
        while len(self.committed) < self._spec.count:
            if time.monotonic() > ended + PATIENCE:
                missing = self._spec.count - len(self.committed)
                raise RuntimeError(f"{missing} of {self._spec.count} orders have not become visible")
            await asyncio.sleep(LOOKS)
            rows = await self._connection.fetch(_COMMITTED, names)
            self.committed = {int(name.rpartition("-")[2]): zero + at for name, at in rows}

    async def _ask(self, number: int) -> None:
        """By GET, again and again from when the order is to be sent, until its points are shown."""
        message = get(f"/v1/customers/user:{self._spec.prefix}-{number}/points", self._token)
        await asyncio.sleep(self._begin + number / self._spec.rate - time.monotonic())
        until = time.monotonic() + PATIENCE
        while number not in self.shown:
            connection = await self._idle.get()
            answer = json.loads(await connection.ask(message, or_missing=True))
            self._idle.put_nowait(connection)
            if answer.get("available", 0) > 0:
                self.shown[number] = time.monotonic()
            elif time.monotonic() > until:
                raise RuntimeError(f"order {number} is not shown: {answer}")
            await asyncio.sleep(AGAIN)


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
