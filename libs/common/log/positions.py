"""Positions: the next offset of each reader, stored with the reader's results and moved in the same transaction."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from libs.common.db import bulk
from libs.common.db.pipeline import Ahead, AnyTx, Pipeline, pipelined
from libs.common.db.pool import Tx
from libs.common.log.reader import Position, TopicPartition


class FenceLost(Exception):
    """The stored position is not where we left it: another process reads this partition, or a commit of ours succeeded
    although its answer was lost."""


class Stored(NamedTuple):
    """A stored position, the rulebook in force there, and how often a process crashed there."""

    position: Position
    rulebook: int
    crashes: int


# Locks rows in the same order as publishing does. Publishing locks all, so all positions have the same rulebook.
_ADVANCE = """
WITH moves AS MATERIALIZED (
  SELECT * FROM unnest($2::text[], $3::smallint[], $4::int[], $5::bigint[], $6::int[], $7::bigint[], $8::bigint[])
  AS move(topic, partition, old_epoch, old_next, epoch, next, hint)
), locked AS MATERIALIZED (
  SELECT topic, partition FROM {table} WHERE reader = $1 AND (topic, partition) IN (SELECT topic, partition FROM moves)
  ORDER BY topic, partition FOR UPDATE
)
UPDATE {table} AS p SET epoch = move.epoch, next = move.next, hint = move.hint, crashes = 0
FROM locked JOIN moves AS move USING (topic, partition)
WHERE p.reader = $1 AND p.topic = move.topic AND p.partition = move.partition
  AND p.epoch = move.old_epoch AND p.next = move.old_next
RETURNING p.rulebook
"""


class Fence(NamedTuple):
    """A conditional move of positions: it succeeds if all of them are still where they were left."""

    schema: str
    moves: Mapping[TopicPartition, tuple[Position, Position]]
    sent: Ahead

    @property
    def passed(self) -> bool:
        """Whether the database has answered."""
        return self.sent.answer is not None

    def rulebook(self) -> int:
        """The rulebook in force. Raises FenceLost if a position was not where it was left."""
        if self.sent.answer is None:
            raise RuntimeError("the fence has not been sent yet")
        moved, rulebook = self.sent.answer
        if moved != len(self.moves):
            places = ", ".join(f"{old.next} of {tp}" for tp, (old, _) in self.moves.items())
            raise FenceLost(f"{self.schema} is no longer at {places}")
        return int(rulebook)


class Positions:
    """The positions of one reader (`fold`, `forwarder`) in the schema of one service."""

    def __init__(self, schema: str, reader: str) -> None:
        self.schema = schema
        self.reader = reader
        self._table = f'"{schema}".positions'
        self._advance = _ADVANCE.format(table=self._table)

    async def ensure(self, tx: Tx, tps: Iterable[TopicPartition], rulebook: int = 0) -> None:
        """Create missing rows, at offset 0. Does not commit."""
        rows = sorted(tps)
        await tx.execute(
            # existing rows are left out first, because ON CONFLICT would wait for the batches in flight on them
            f"INSERT INTO {self._table} (reader, topic, partition, rulebook)"
            " SELECT $1, topic, partition, $4 FROM unnest($2::text[], $3::smallint[]) AS at(topic, partition)"
            f" WHERE (topic, partition) NOT IN (SELECT topic, partition FROM {self._table} WHERE reader = $1)"
            " ON CONFLICT DO NOTHING",
            self.reader,
            [tp.topic for tp in rows],
            [tp.partition for tp in rows],
            rulebook,
        )

    async def load(self, tx: Tx, tp: TopicPartition, *, lock: bool = False) -> Stored:
        """The stored position, if asked locked until the transaction ends. Raises LookupError if `ensure` has not
        created it."""
        row = await tx.fetchrow(
            f"SELECT epoch, next, hint, rulebook, crashes FROM {self._table}"
            f" WHERE reader = $1 AND topic = $2 AND partition = $3{' FOR UPDATE' if lock else ''}",
            self.reader,
            *tp,
        )
        if row is None:
            raise LookupError(f"{self.schema} has no position for {tp}")
        return Stored(Position(row[0], row[1], row[2]), row[3], row[4])

    async def rulebook(self, tx: Tx) -> int:
        """The rulebook in force, the same for all partitions; 0 before there are positions."""
        query = f"SELECT coalesce(max(rulebook), 0) FROM {self._table} WHERE reader = $1"
        found: int = await tx.fetchval(query, self.reader)
        return found

    async def all(self, tx: Tx) -> dict[TopicPartition, Position]:
        """Every position of this reader."""
        query = f"SELECT topic, partition, epoch, next, hint FROM {self._table} WHERE reader = $1"
        return {TopicPartition(row[0], row[1]): Position(*row[2:]) for row in await tx.fetch(query, self.reader)}

    async def advance(self, tx: AnyTx, moves: Mapping[TopicPartition, tuple[Position, Position]]) -> int:
        """The fence: move each partition from its old to its new position. Returns the rulebook in force.

        Locks the rows, in the order of the partitions, until the transaction ends. Raises FenceLost if any of them is
        not at its old position; the caller must then roll back. Does not commit.
        """
        async with pipelined(tx) as pipeline:
            fence = self.fence(pipeline, moves)
            await pipeline.flush()
        return fence.rulebook()

    def fence(self, pipeline: Pipeline, moves: Mapping[TopicPartition, tuple[Position, Position]]) -> "Fence":
        """`advance`, sent with the next statement of a pipeline. Call `rulebook` on the result after that statement."""
        rows = sorted((*tp, *old[:2], *new) for tp, (old, new) in moves.items())
        select = ("count(*) AS moved", "min(rulebook) AS rulebook")
        sent = pipeline.ahead(self._advance, self.reader, *bulk.transposed(rows), select=select)
        return Fence(self.schema, moves, sent)

    async def count_crash(self, tx: Tx, tp: TopicPartition, more: int = 1) -> None:
        """Add `more` to the crash count. Add 1 before a risky try and -1 if it only raised; `advance` resets the count.

        Does not commit.
        """
        await tx.execute(
            f"UPDATE {self._table} SET crashes = greatest(crashes + $4, 0)"
            " WHERE reader = $1 AND topic = $2 AND partition = $3",
            self.reader,
            *tp,
            more,
        )
