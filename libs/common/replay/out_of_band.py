"""Out-of-band changes: what happened to customers beside the journal, and where in the journal it took place.

These are the facts that a service decided, replayed dead letters, and stored commands. They are indexed by customer, in
the order in which they happened.

A fact with sequence n is the customer's nth fact. A dead letter or command has the number of facts before it, so it
comes after the fact with that number.
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
CREATE UNLOGGED TABLE "{schema}".out_of_band (
  customer uuid NOT NULL, sequence bigint NOT NULL, place smallint NOT NULL, at timestamptz NOT NULL,
  position bigint NOT NULL, rulebook int NOT NULL, kind text NOT NULL, type text, id text, time timestamptz, value bytea,
  done boolean NOT NULL DEFAULT false
)
"""
_INDEX = 'CREATE INDEX ON "{schema}".out_of_band (customer, sequence, place, at)'
_FACTS = """
INSERT INTO "{schema}".out_of_band (customer, sequence, place, at, position, rulebook, kind, type, id, value)
SELECT key::uuid, split_part(stamp, '/', 4)::bigint, 0, appended_at, split_part(stamp, '/', 2)::bigint,
  split_part(stamp, '/', 3)::int, 'fact', type, cause, value
FROM (
  SELECT key, appended_at, value, json ->> 'stamp' AS stamp, json ->> 'type' AS type, json ->> 'causationid' AS cause
  FROM (
    SELECT *, convert_from(value, 'UTF8')::json AS json FROM {facts}
    WHERE partition = $1 AND "offset" >= $2 AND "offset" < $3
  ) AS record OFFSET 0
) AS fact WHERE stamp IS NOT NULL  -- redacted records and answers to erasures have none
"""
_LETTERS = """
INSERT INTO "{schema}".out_of_band (customer, sequence, place, at, position, rulebook, kind, value)
SELECT replayed_key::uuid, split_part(stamp, '/', 4)::bigint, 1, settled_at, split_part(stamp, '/', 2)::bigint,
  split_part(stamp, '/', 3)::int, 'record', coalesce(mended, value)
FROM "{service}".dead_letters AS letter
WHERE outcome = 'replayed' AND topic = $1 AND replayed_key IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM "{schema}".out_of_band WHERE customer = letter.replayed_key::uuid AND at = letter.settled_at AND place = 1
)
"""
_COMMANDS = """
INSERT INTO "{schema}".out_of_band (customer, sequence, place, at, position, rulebook, kind, type, id, time, value)
SELECT customer, split_part(stamp, '/', 4)::bigint, 1, at, split_part(stamp, '/', 2)::bigint,
  split_part(stamp, '/', 3)::int, 'command', type, id, time, body
FROM ({commands}) AS kept
WHERE NOT EXISTS (SELECT 1 FROM "{schema}".out_of_band AS b WHERE b.customer = kept.customer AND b.id = kept.id AND b.place = 1)
"""
_DUE = """
SELECT out_of_band.customer, sequence, place, at, position, rulebook, kind, type, out_of_band.id, time, value
FROM unnest($1::uuid[], $2::bigint[], $3::boolean[]) AS asked(id, facts, leaves)
JOIN "{schema}".out_of_band ON customer = asked.id AND sequence >= asked.facts AND (place = 1 OR sequence > asked.facts)
  AND NOT done
WHERE position <= $4 OR asked.leaves ORDER BY customer, sequence, place, at
"""
_LEFT = """
SELECT DISTINCT out_of_band.customer FROM "{schema}".out_of_band LEFT JOIN "{schema}".customers AS c ON c.id = out_of_band.customer
WHERE (place = 1 OR sequence > coalesce(c.facts, 0)) AND NOT done ORDER BY 1 LIMIT $1
"""
_DONE = """
UPDATE "{schema}".out_of_band SET done = true FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS these(customer, sequence, at)
WHERE out_of_band.customer = these.customer AND out_of_band.sequence = these.sequence AND out_of_band.at = these.at AND place = 1
"""


class OutOfBand(NamedTuple):
    """A change. `kind` is fact, record (a replayed dead letter) or command. `id` is the cause or the command's."""

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
    """The index of out-of-band changes, as a table in the shadow's schema."""

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
        """Index what has happened since the last call. `tx` is on the service's database, without redirection."""
        heads = await tx.fetch("SELECT partition, next FROM log.heads WHERE topic = $1", self._topic)
        statement = _FACTS.format(schema=self._schema, facts=relation(self._topic))
        for partition, next in heads:
            for first in range(self._heads.get(partition, 0), next, step):
                await tx.execute(statement, partition, first, min(first + step, next))
            self._heads[partition] = next
        await tx.execute(_LETTERS.format(schema=self._schema, service=self._service), JOURNAL)
        if self._commands:
            await tx.execute(_COMMANDS.format(schema=self._schema, commands=self._commands))
        await tx.execute(f'ANALYZE "{self._schema}".out_of_band')

    async def due(
        self, tx: Tx, rows: Mapping[UUID, Row[Any]], until: int, leaving: Iterable[UUID] = ()
    ) -> dict[UUID, list[OutOfBand]]:
        """The changes to the customers of `rows` that are still to be put back, stamped with a position up to `until`.

        For customers in `leaving`, all that remain, whatever their position.
        """
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
        """Mark changes as put back. Facts need no mark, because a customer's row counts them."""
        if rows := [(each.customer, each.sequence, each.at) for each in these if each.place]:
            await tx.execute(_DONE.format(schema=self._schema), *bulk.transposed(rows))

    async def left(self, tx: Tx, limit: int) -> list[UUID]:
        """Up to `limit` customers with changes that have not been put back yet."""
        return [row[0] for row in await tx.fetch(_LEFT.format(schema=self._schema), limit)]
