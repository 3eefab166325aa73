"""Timers: something becomes due for a customer at a time. The timer is a row; when it is due, it runs as a command.

A timer fires only after the watermark has passed its time and the service has folded that far, because a service that
is hours behind does not know yet what happened before. Its facts are stamped like any command's, so a replay puts them
back in place. It takes effect once: `decide` checks the customer's state under the customer's lock, and the timer's row
is deleted in the same transaction.
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

#: The most due timers that are read at once.
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
    """Set timers of customers whose rows the transaction has locked. A customer has one of a kind. Does not commit.

    A timer that is no longer needed may stay: its command finds nothing to do.
    """
    await _set(tx, service, kind, due, partitions, "<>")


async def set_by(tx: Tx, service: str, kind: str, due: Mapping[UUID, datetime], partitions: int) -> None:
    """Like `set_at`, but a timer that is due earlier stays."""
    await _set(tx, service, kind, due, partitions, ">")


async def _set(
    tx: Tx, service: str, kind: str, due: Mapping[UUID, datetime], partitions: int, which: Literal["<>", ">"]
) -> None:
    if due:
        customers = sorted(due)
        numbers = [partition_of(str(customer), partitions) for customer in customers]
        await tx.execute(
            _SET.format(service=service, which=which), kind, customers, numbers, [due[each] for each in customers]
        )


class Timers(PeriodicTask):
    """A component that fires due timers. `bodies` makes the command of each kind, from the time at which it was due."""

    name = "timers"
    every = 5.0

    def __init__(
        self,
        consumer: ConsumerService,
        handler: DeciderHandler[Any, Any],
        bodies: Mapping[str, Callable[[datetime], msgspec.Struct]],
    ) -> None:
        super().__init__()
        self._consumer = consumer
        self._handler = handler
        self._bodies = bodies
        #: For each partition of the journal: a watermark with its head, until the fold has reached that head.
        self._awaited: dict[int, tuple[int, datetime]] = {}
        #: For each partition of the journal: the time up to which it has been folded.
        self._folded_until: dict[int, datetime] = {}

    async def round(self, now: datetime) -> int:
        """Fire all timers that are due; returns how many. Commits one transaction for each time and kind."""
        async with self._consumer.read() as connection:
            if not await connection.fetchval(
                _ANY.format(service=self._consumer.service), self._consumer.settings.partitions, now
            ):
                return 0
        await self._update_folded_until()
        fired = 0
        for partition, until in sorted(self._folded_until.items()):
            while more := await self._fire(partition, min(until, now)):
                fired += more
        return fired

    async def _update_folded_until(self) -> None:
        """Find the time up to which each partition has been folded. It is a watermark's time once the fold has reached
        the head that came with it."""
        published = (
            await published_watermarks(self._consumer.settings) if self._consumer.settings.log == "kafka" else None
        )
        async with self._consumer.read() as connection:
            current = await watermarks(connection) if published is None else published
            positions = await self._consumer.fold.positions.all(connection)
        for partition, head, until in current:
            next = positions[TopicPartition(JOURNAL, partition)].next
            awaited_head, awaited_until = self._awaited.setdefault(partition, (head, until))
            if next >= awaited_head:
                self._folded_until[partition] = max(awaited_until, self._folded_until.get(partition, awaited_until))
                self._awaited[partition] = (head, until)
                if next >= head:
                    self._folded_until[partition] = max(until, self._folded_until[partition])

    async def _fire(self, partition: int, until: datetime) -> int:
        """Fire up to BATCH timers of a partition that are due by `until`; returns how many."""
        service = self._consumer.service
        async with self._consumer.read() as connection:
            rows = await connection.fetch(_DUE.format(service=service), partition, until, BATCH)
        commands: Commands[Any, Any] = Commands(self._consumer.fold, self._handler)
        for (due, kind), group in groupby(rows, key=lambda row: (row["due"], row["kind"])):
            body = self._bodies[kind](due)
            customers = [row["customer"] for row in group]
            async with self._consumer.tx() as tx:
                key = f"{kind}/{due.isoformat()}"
                await commands.run_many(tx, dict.fromkeys(customers, body), key=key, at=due)
                await tx.execute(_DONE.format(service=service), customers, kind, due)
        return len(rows)

    async def _run_once(self) -> None:
        if fired := await self.round(datetime.now(UTC)):
            logger.info("timers fired", timers=fired)
