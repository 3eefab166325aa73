"""What happened beside the journal, and where in it: the facts that a service decided, dead letters that were replayed,
commands that were kept. Indexed by customer, in the order in which they happened to each.

A fact with sequence n is the customer's nth. What led to no fact of its own is stamped with how many there were before
it, and so comes after the fact of that number.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import written_by
from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.customers import Row
from libs.common.log.tables import relation
from libs.common.replay.replayable import Replayable

_TABLE = """
CREATE UNLOGGED TABLE "{schema}".beside (
  customer uuid NOT NULL, sequence bigint NOT NULL, place smallint NOT NULL, at timestamptz NOT NULL,
  position bigint NOT NULL, rulebook int NOT NULL, kind text NOT NULL, type text, id text, time timestamptz, value bytea,
  done boolean NOT NULL DEFAULT false
)
"""
_INDEX = 'CREATE INDEX ON "{schema}".beside (customer, sequence, place, at)'
_FACTS = """
INSERT INTO "{schema}".beside (customer, sequence, place, at, position, rulebook, kind, type, id, value)
SELECT key::uuid, split_part(stamp, '/', 4)::bigint, 0, appended_at, split_part(stamp, '/', 2)::bigint,
  split_part(stamp, '/', 3)::int, 'fact', type, cause, value
FROM (
  SELECT key, appended_at, value, json ->> 'stamp' AS stamp, json ->> 'type' AS type, json ->> 'causationid' AS cause
  FROM (
    SELECT *, convert_from(value, 'UTF8')::json AS json FROM {facts}
    WHERE partition = $1 AND "offset" >= $2 AND "offset" < $3
  ) AS record OFFSET 0
) AS fact
"""
_LETTERS = """
INSERT INTO "{schema}".beside (customer, sequence, place, at, position, rulebook, kind, value)
SELECT replayed_key::uuid, split_part(stamp, '/', 4)::bigint, 1, settled_at, split_part(stamp, '/', 2)::bigint,
  split_part(stamp, '/', 3)::int, 'record', coalesce(mended, value)
FROM "{service}".dead_letters AS letter
WHERE outcome = 'replayed' AND topic = $1 AND replayed_key IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM "{schema}".beside WHERE customer = letter.replayed_key::uuid AND at = letter.settled_at AND place = 1
)
"""
_COMMANDS = """
INSERT INTO "{schema}".beside (customer, sequence, place, at, position, rulebook, kind, type, id, time, value)
SELECT customer, split_part(stamp, '/', 4)::bigint, 1, at, split_part(stamp, '/', 2)::bigint,
  split_part(stamp, '/', 3)::int, 'command', type, id, time, body
FROM ({commands}) AS kept
WHERE NOT EXISTS (SELECT 1 FROM "{schema}".beside AS b WHERE b.customer = kept.customer AND b.id = kept.id AND b.place = 1)
"""
_DUE = """
SELECT beside.customer, sequence, place, at, position, rulebook, kind, type, beside.id, time, value
FROM unnest($1::uuid[], $2::bigint[], $3::boolean[]) AS asked(id, facts, leaves)
JOIN "{schema}".beside ON customer = asked.id AND sequence >= asked.facts AND (place = 1 OR sequence > asked.facts)
  AND NOT done
WHERE position <= $4 OR asked.leaves ORDER BY customer, sequence, place, at
"""
_LEFT = """
SELECT DISTINCT beside.customer FROM "{schema}".beside LEFT JOIN "{schema}".customers AS c ON c.id = beside.customer
WHERE (place = 1 OR sequence > coalesce(c.facts, 0)) AND NOT done ORDER BY 1 LIMIT $1
"""
_DONE = """
UPDATE "{schema}".beside SET done = true FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS these(customer, sequence, at)
WHERE beside.customer = these.customer AND beside.sequence = these.sequence AND beside.at = these.at AND place = 1
"""


class OutOfBand(NamedTuple):
    """One of them. `kind` is fact, record (a dead letter replayed) or command; `id` is a fact's cause, or a command's."""

    customer: UUID
    sequence: int
    place: int
    at: datetime
    position: int
    rulebook: int
    kind: str
    type: str | None
    id: str | None
    time: datetime | None
    value: bytes


class OutOfBandIndex:
    """The index, as a table of the shadow."""

    def __init__(self, replayable: Replayable[Any, Any], schema: str) -> None:
        self._topic = written_by(replayable.service)
        self._service = replayable.service
        self._commands = replayable.commands_from
        self._schema = schema
        self._heads: dict[int, int] = {}

    async def make(self, tx: Tx) -> None:
        await tx.execute(_TABLE.format(schema=self._schema))
        await tx.execute(_INDEX.format(schema=self._schema))

    async def extend(self, tx: Tx, step: int = 50_000) -> None:
        """Index what has come since the last time. `tx` is the service's database, without redirection."""
        heads = await tx.fetch("SELECT partition, next FROM log.heads WHERE topic = $1", self._topic)
        statement = _FACTS.format(schema=self._schema, facts=relation(self._topic))
        for partition, next in heads:
            for first in range(self._heads.get(partition, 0), next, step):
                await tx.execute(statement, partition, first, min(first + step, next))
            self._heads[partition] = next
        await tx.execute(_LETTERS.format(schema=self._schema, service=self._service), JOURNAL)
        if self._commands:
            await tx.execute(_COMMANDS.format(schema=self._schema, commands=self._commands))
        await tx.execute(f'ANALYZE "{self._schema}".beside')

    async def due(
        self, tx: Tx, rows: Mapping[UUID, Row[Any]], until: int, leaving: Iterable[UUID] = ()
    ) -> dict[UUID, list[OutOfBand]]:
        """What happened to the customers of `rows` since, stamped with a position up to `until`; all of those `leaving`."""
        gone = set(leaving)
        found: dict[UUID, list[OutOfBand]] = {}
        for row in await tx.fetch(
            _DUE.format(schema=self._schema),
            list(rows),
            [row.facts for row in rows.values()],
            [id in gone for id in rows],
            until,
        ):
            found.setdefault(row["customer"], []).append(OutOfBand(*row))
        return found

    async def done(self, tx: Tx, these: Sequence[OutOfBand]) -> None:
        """Remember what was put back. Of facts it need not be said: a customer's row says how many there were."""
        if rows := [(each.customer, each.sequence, each.at) for each in these if each.place]:
            await tx.execute(_DONE.format(schema=self._schema), *bulk.transposed(rows))

    async def left(self, tx: Tx, limit: int) -> list[UUID]:
        """Customers for whom something has not been put back yet."""
        return [row[0] for row in await tx.fetch(_LEFT.format(schema=self._schema), limit)]
