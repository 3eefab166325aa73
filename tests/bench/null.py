"""The null loop: five processes that move the bytes of a real run through the same appends, reads and position updates.

Nothing is decoded, no state is kept, no rule is asked: what is left is the bare limit of any platform built on this log.
`python -m tests.bench.null ROLE FLOW` runs one process; how many records of what length go where is told by `Flow`.
"""

import asyncio
import gc
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import uvicorn
import uvloop

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import written_by
from libs.common.db.pipeline import AnyTx
from libs.common.db.pool import Tx
from libs.common.fold.batch import Batch, Outcome
from libs.common.fold.service import ConsumerService
from libs.common.log.append import Outgoing
from libs.common.log.maintenance import LogMaintenance
from libs.common.log.reader import Record
from libs.common.observability.telemetry import Meter
from libs.common.runtime.postgres import Postgres
from libs.common.settings import Settings
from services.ingest.commit import GroupCommit
from services.ingest.log import PostgresLog
from tests.bench.workload import BATCH, CUSTOMERS

_READY = "ready"
_ANSWER = b'{"success":true}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]


class Flow(msgspec.Struct, frozen=True):
    """By topic: how many records a real run wrote, and their mean length in bytes."""

    records: Mapping[str, int]
    length: Mapping[str, int]

    @property
    def facts(self) -> int:
        """Records of the topics that come back into the journal."""
        return sum(count for topic, count in self.records.items() if topic not in (EVENTS, JOURNAL))


def of_length(value: bytes, length: int) -> bytes:
    """`value`, cut or filled up."""
    return value[:length].ljust(length)


def spread(offset: int, out: int, into: int) -> int:
    """How many of `out` records fall to the one at `offset`, when they are spread evenly over `into`."""
    return (offset + 1) * out // into - offset * out // into


class Null:
    """A handler that writes for each record as many as the real service does on average, and changes nothing."""

    def __init__(self, service: str, flow: Flow) -> None:
        self._writes = written_by(service)
        self._length = flow.length[self._writes]
        self._of_event = flow.records[JOURNAL] - flow.facts, flow.records[EVENTS]
        self._of_journal = flow.records[self._writes], flow.records[JOURNAL]

    async def apply(self, tx: AnyTx, batches: Sequence[Batch]) -> Outcome:
        return Outcome([made for batch in batches for record in batch.records for made in self._made(record)])

    async def skip(self, tx: Tx, record: Record) -> None:
        """Nothing is kept, so nothing can be missed."""

    def _made(self, record: Record) -> Iterator[Outgoing]:
        count = 1
        if record.topic == EVENTS:
            count = spread(record.offset, *self._of_event)
        elif record.topic == JOURNAL:
            count = spread(record.offset, *self._of_journal)
        for _ in range(count):
            yield Outgoing(record.key.ljust(36), of_length(record.value, self._length), record.appended_at)


class Ingest:
    """Raw ASGI: cuts a body's bytes into as many records as it has events, stores them, answers."""

    def __init__(self, commit: GroupCommit, length: int) -> None:
        self._commit = commit
        self._length = length
        self._number = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await self._commit.append(self._cut(body))
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _ANSWER})

    def _cut(self, body: bytes) -> list[Outgoing]:
        step, now = len(body) // BATCH, datetime.now(UTC)
        first, self._number = self._number, self._number + BATCH
        return [
            Outgoing(
                f"browser-user-{(first + at) % CUSTOMERS}",
                of_length(body[at * step : (at + 1) * step], self._length),
                now,
            )
            for at in range(BATCH)
        ]


async def run_ingest(settings: Settings, flow: Flow) -> None:
    postgres = Postgres(settings, "ingest", Meter("ingest"))
    log = PostgresLog(postgres)
    commit = GroupCommit(log, queue_limit=50_000, deadline=30)
    keeping = LogMaintenance("ingest", postgres)
    for part in (postgres, log, keeping, commit):
        await part.start()
    config = uvicorn.Config(
        Ingest(commit, flow.length[EVENTS]),
        settings.host,
        settings.port,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    _settled()
    await uvicorn.Server(config).serve()
    for part in (commit, keeping, log, postgres):
        await part.stop()


async def run_fold(service: str, settings: Settings, flow: Flow) -> None:
    part = ConsumerService(service, settings, Null(service, flow))
    keeping = LogMaintenance(service, part)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await part.start()
    await keeping.start()
    _settled()
    await stop.wait()
    await keeping.stop()
    await part.stop()


def _settled() -> None:
    """As the services do once they have been put together."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    print(_READY, flush=True)  # noqa: T201 - to who has started this


def main() -> None:
    service, flow = sys.argv[1], msgspec.convert(json.loads(sys.argv[2]), Flow)
    settings = Settings.load(service)
    uvloop.run(run_ingest(settings, flow) if service == "ingest" else run_fold(service, settings, flow))


if __name__ == "__main__":
    main()
