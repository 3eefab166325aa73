"""Positions: where a reader stands, kept in the database that its results go to, moved in the same transaction."""

from collections.abc import Iterable
from typing import NamedTuple

from libs.common.db import Tx
from libs.common.log.reader import Position, Where


class FenceLost(Exception):
    """The position is not where we left it: another process reads this partition, or our commit did succeed."""


class Stored(NamedTuple):
    """A position as stored, the rulebook in force from it on, and how often a process died on it without moving it."""

    position: Position
    rulebook: int
    deaths: int


class Positions:
    """The positions of one reader (`fold`, `forwarder`) in the schema of one service."""

    def __init__(self, schema: str, reader: str) -> None:
        self.schema = schema
        self.reader = reader
        self._table = f'"{schema}".positions'

    async def ensure(self, tx: Tx, wheres: Iterable[Where], rulebook: int = 0) -> None:
        """Make the rows that are missing, at the start of the log."""
        rows = sorted(wheres)
        await tx.execute(
            # those that are there are left out beforehand: ON CONFLICT would wait for the batches in flight on them
            f"INSERT INTO {self._table} (reader, topic, partition, rulebook)"
            " SELECT $1, topic, partition, $4 FROM unnest($2::text[], $3::smallint[]) AS at(topic, partition)"
            f" WHERE (topic, partition) NOT IN (SELECT topic, partition FROM {self._table} WHERE reader = $1)"
            " ON CONFLICT DO NOTHING",
            self.reader,
            [where.topic for where in rows],
            [where.partition for where in rows],
            rulebook,
        )

    async def load(self, tx: Tx, where: Where, *, lock: bool = False) -> Stored:
        """The stored position; locked, it stays so until the transaction ends. Raises LookupError when `ensure` has not
        made it."""
        row = await tx.fetchrow(
            f"SELECT epoch, next, hint, rulebook, deaths FROM {self._table}"
            f" WHERE reader = $1 AND topic = $2 AND partition = $3{' FOR UPDATE' if lock else ''}",
            self.reader,
            *where,
        )
        if row is None:
            raise LookupError(f"{self.schema} has no position for {where}")
        return Stored(Position(row[0], row[1], row[2]), row[3], row[4])

    async def all(self, tx: Tx) -> dict[Where, Position]:
        """Every position of this reader."""
        query = f"SELECT topic, partition, epoch, next, hint FROM {self._table} WHERE reader = $1"
        return {Where(row[0], row[1]): Position(*row[2:]) for row in await tx.fetch(query, self.reader)}

    async def advance(self, tx: Tx, where: Where, old: Position, new: Position) -> int:
        """The fence: move from `old` to `new` if it still stands at `old`, and return the rulebook in force.

        Locks the row until the transaction ends. Raises FenceLost when it stands elsewhere.
        """
        rulebook = await tx.fetchval(
            f"UPDATE {self._table} SET epoch = $6, next = $7, hint = $8, deaths = 0"
            " WHERE reader = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND next = $5 RETURNING rulebook",
            self.reader,
            *where,
            old.epoch,
            old.next,
            new.epoch,
            new.next,
            new.hint,
        )
        if rulebook is None:
            raise FenceLost(f"{self.schema} does not stand at {old.next} of {where} any more")
        return int(rulebook)

    async def note_death(self, tx: Tx, where: Where, more: int = 1) -> None:
        """Count a death of the process before a try that it may die of; `advance` sets the count back to none, and
        -1 takes one back, after an error that nobody died of."""
        await tx.execute(
            f"UPDATE {self._table} SET deaths = greatest(deaths + $4, 0)"
            " WHERE reader = $1 AND topic = $2 AND partition = $3",
            self.reader,
            *where,
            more,
        )
