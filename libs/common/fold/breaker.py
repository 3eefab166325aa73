"""The breaker: if many records of a partition fail, our code is more likely at fault than the records.

An open breaker skips nothing more. The partition stops and retries until the record can be applied, or until an
operator allows it to skip the records so far. A release with a fix needs no other step. The breaker counts dead letters
in the database, so a restart changes nothing.

One app that sends nonsense must not stop the others: its records are skipped while other sources' succeed.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping

from libs.common.db.pool import Database, Tx
from libs.common.log.reader import Record, TopicPartition

#: The breaker opens at BAD dead letters (5 %) among the last WINDOW records of a partition.
BAD, WINDOW = 50, 1000
#: If one source alone causes them, it stays closed while at least OTHERS of the last REMEMBERED records that this
#: process applied came from other sources.
OTHERS, REMEMBERED = 100, 5000

_SOURCE = re.compile(rb'"source":"([^"]*)"')
#: A record's source is within its first bytes.
_HEAD = 600


class BreakerOpen(Exception):
    """A failing record must not be skipped: too many before it failed."""


class Breaker:
    """The breaker of one fold. It remembers the sources of applied records only after the first dead letter."""

    def __init__(self, service: str, database: Database) -> None:
        self._database = database
        self._letters = f'"{service}".dead_letters'
        self._positions = f'"{service}".positions'
        self._applied: deque[bytes] | None = None

    def applied(self, records: Iterable[Record]) -> None:
        """Note that these records were applied."""
        if self._applied is not None:
            self._applied.extend(_source(record.value) for record in records)

    async def check(self, tp: TopicPartition, record: Record) -> None:
        """Raises BreakerOpen if `record`, which is poison, must not be skipped."""
        if self._applied is None:
            self._applied = deque(maxlen=REMEMBERED)
        async with self._database.connection() as tx:
            heads = await self._bad(tx, tp, record.offset)
            if len(heads) < BAD or await self._is_allowed(tx, tp, record.offset):
                return
        source = _source(record.value)
        others_bad = sum(_source(head) != source for head in heads)
        others_good = sum(applied != source for applied in self._applied)
        if others_bad < BAD and others_good >= OTHERS:
            return
        raise BreakerOpen(
            f"{len(heads)} of the last {WINDOW:,} records of {tp} could not be applied, so no more are skipped:"
            " fix the code (the partition then continues by itself), or POST …/dead-letters/skip"
        )

    async def allow(self, tx: Tx, through: Mapping[TopicPartition, int]) -> None:
        """Allow each partition to skip failing records before an offset. Does not commit."""
        for tp, offset in sorted(through.items()):
            await tx.execute(
                f"UPDATE {self._positions} SET skip_before = greatest(skip_before, $3)"
                " WHERE reader = 'fold' AND topic = $1 AND partition = $2",
                *tp,
                offset,
            )

    async def _bad(self, tx: Tx, tp: TopicPartition, offset: int) -> list[bytes]:
        """The first bytes of each dead letter among the last WINDOW records."""
        rows = await tx.fetch(
            f"SELECT substring(value FROM 1 FOR {_HEAD}) FROM {self._letters}"
            ' WHERE topic = $1 AND partition = $2 AND "offset" >= $3 AND "offset" < $4',
            *tp,
            offset - WINDOW,
            offset,
        )
        return [row[0] for row in rows]

    async def _is_allowed(self, tx: Tx, tp: TopicPartition, offset: int) -> bool:
        through: int = await tx.fetchval(
            f"SELECT skip_before FROM {self._positions} WHERE reader = 'fold' AND topic = $1 AND partition = $2", *tp
        )
        return offset < through


def _source(value: bytes) -> bytes:
    found = _SOURCE.search(value, 0, _HEAD)
    return found[1] if found else b""
