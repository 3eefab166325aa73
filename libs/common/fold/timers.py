"""Timers: a command that is due for a customer at a time, stored in the database.

A timer fires only after the service has folded everything up to its time: a service that is hours behind does not yet
know what happened before. It is a command with a stamp, so a replay puts it back in its place. It has its effect once,
because `decide` looks at the customer's state under their lock, and the timer is deleted in the same transaction.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal
from uuid import UUID

import msgspec
import structlog

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx
from libs.common.fold.commands import Commands
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.fold.watermark import published_watermarks, watermarks
from libs.common.log.partition import partition_of
from libs.common.log.reader import TopicPartition
from libs.common.runtime.periodic import PeriodicTask

logger = structlog.get_logger()

#: Timers of one transaction.
BATCH = 200

_SET = """
INSERT INTO "{service}".timers (customer, kind, partition, due)
SELECT customer, $1, partition, due FROM unnest($2::uuid[], $3::smallint[], $4::timestamptz[]) AS t(customer, partition, due)
ON CONFLICT (customer, kind) DO UPDATE SET due = excluded.due WHERE timers.due {which} excluded.due
"""
_DUE = """
SELECT customer, kind, due FROM "{service}".timers WHERE partition = $1 AND due <= $2 ORDER BY due, kind, customer LIMIT $3
"""
_ANY = """
SELECT EXISTS (SELECT FROM generate_series(0, $1 - 1) AS p(number)
  WHERE EXISTS (SELECT FROM "{service}".timers WHERE partition = p.number AND due <= $2))
"""
_DONE = 'DELETE FROM "{service}".timers WHERE customer = ANY($1::uuid[]) AND kind = $2 AND due = $3'


async def set_at(tx: Tx, service: str, kind: str, due: Mapping[UUID, datetime], partitions: int) -> None:
    """Set the timers of customers whose rows the transaction holds. Each customer has one of a kind. Does not commit.

    A timer that is no longer needed may stay: it fires without effect.
    """
    await _set(tx, service, kind, due, partitions, "<>")


async def set_by(tx: Tx, service: str, kind: str, due: Mapping[UUID, datetime], partitions: int) -> None:
    """Like `set_at`, but a timer that is due earlier stays as it is."""
    await _set(tx, service, kind, due, partitions, ">")


async def _set(
    tx: Tx, service: str, kind: str, due: Mapping[UUID, datetime], partitions: int, which: Literal["<>", ">"]
) -> None:
    if due:
        customers = sorted(due)
        homes = [partition_of(str(customer), partitions) for customer in customers]
        await tx.execute(
            _SET.format(service=service, which=which), kind, customers, homes, [due[each] for each in customers]
        )


class Timers(PeriodicTask):
    """A component that fires due timers. `bodies` makes the command of each kind from the time at which it was due."""

    name = "timers"
    every = 5.0

    def __init__(
        self,
        part: ConsumerService,
        handler: DeciderHandler[Any, Any],
        bodies: Mapping[str, Callable[[datetime], msgspec.Struct]],
    ) -> None:
        super().__init__()
        self._part = part
        self._handler = handler
        self._bodies = bodies
        #: Of each partition of the journal: a head, and what was heard when it stood there; and what holds now.
        self._looked: dict[int, tuple[int, datetime]] = {}
        self._folded: dict[int, datetime] = {}

    async def round(self, now: datetime) -> int:
        """Fire what is due. Returns the number of timers."""
        async with self._part.read() as connection:
            if not await connection.fetchval(
                _ANY.format(service=self._part.service), self._part.settings.partitions, now
            ):
                return 0
        await self._look()
        fired = 0
        for partition, until in sorted(self._folded.items()):
            while more := await self._fire(partition, min(until, now)):
                fired += more
        return fired

    async def _look(self) -> None:
        """Find the time up to which each partition is folded: a watermark counts once the head that it was read with
        is reached."""
        told = await published_watermarks(self._part.settings) if self._part.settings.log == "kafka" else None
        async with self._part.read() as connection:
            heard = await watermarks(connection) if told is None else told
            positions = await self._part.fold.positions.all(connection)
        for partition, head, until in heard:
            next = positions[TopicPartition(JOURNAL, partition)].next
            looked = self._looked.setdefault(partition, (head, until))
            if next >= looked[0]:
                self._folded[partition] = max(looked[1], self._folded.get(partition, looked[1]))
                self._looked[partition] = (head, until)
                if next >= head:
                    self._folded[partition] = max(until, self._folded[partition])

    async def _fire(self, partition: int, until: datetime) -> int:
        service = self._part.service
        async with self._part.read() as connection:
            rows = await connection.fetch(_DUE.format(service=service), partition, until, BATCH)
        commands: Commands[Any, Any] = Commands(self._part.fold, self._handler)
        for (due, kind), group in groupby(rows, key=lambda row: (row["due"], row["kind"])):
            body = self._bodies[kind](due)
            customers = [row["customer"] for row in group]
            async with self._part.tx() as tx:
                key = f"{kind}/{due.isoformat()}"
                await commands.run_many(tx, dict.fromkeys(customers, body), key=key, at=due)
                await tx.execute(_DONE.format(service=service), customers, kind, due)
        return len(rows)

    async def _run_once(self) -> None:
        if fired := await self.round(datetime.now(UTC)):
            logger.info("timers fired", timers=fired)
