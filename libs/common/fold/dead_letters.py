"""Dead letters: records that a fold could not apply, kept with their error until an operator settles them."""

import base64
import json
import re
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import structlog

from libs.common.contracts.ids import derived
from libs.common.contracts.profile import JOURNAL, CustomerErased, CustomerLeft, CustomerMerged
from libs.common.db.pool import Tx
from libs.common.errors import Conflict, Invalid, NotFound, Unavailable
from libs.common.fold.batch import Batch, Blocked
from libs.common.fold.customers import survivor
from libs.common.log.append import append
from libs.common.log.failures import is_poison
from libs.common.log.partition import partition_of
from libs.common.log.reader import Record, TopicPartition

if TYPE_CHECKING:
    from libs.common.fold.loop import Fold

logger = structlog.get_logger()

LONGEST_ERROR = 2_000
LONGEST_TRACE = 8_000
UUID_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


#: Types that are never dead-lettered: skipping one would leave a customer in two places, or one who asked to be forgotten.
_STOPPING = tuple(b'"type":"%b"' % each.TYPE.encode() for each in (CustomerLeft, CustomerMerged, CustomerErased))


def never_dead_lettered(record: Record) -> bool:
    """Whether the record is part of a merge or an erasure. Looks only before `data`, which may hold client content."""
    envelope, _, _ = record.value.partition(b'"data":')
    return any(mark in envelope for mark in _STOPPING)


async def dead_letter(tx: Tx, service: str, record: Record, error: BaseException) -> None:
    """Store `record` with its error, once for each record. Does not commit."""
    trace = "".join(traceback.format_exception(error))[-LONGEST_TRACE:]
    await tx.execute(
        f'INSERT INTO "{service}".dead_letters (id, topic, partition, "offset", key, value, error, trace)'
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        derived(service, record.topic, str(record.partition), str(record.offset)),
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        _storable(f"{type(error).__name__}: {error}"[:LONGEST_ERROR]),
        _storable(trace),
    )


class DeadLetters:
    """The operator's actions on the dead letters of one fold."""

    def __init__(self, fold: "Fold") -> None:
        self._fold = fold
        self._table = f'"{fold.service}".dead_letters'

    async def page(self, waiting: bool, limit: int, cursor: UUID | None) -> list[dict[str, Any]]:
        """A page of dead letters, the oldest first; `waiting` leaves out those that were replayed or discarded."""
        async with self._fold.database.connection() as tx:
            rows = await tx.fetch(
                f"SELECT * FROM {self._table} WHERE (NOT $1 OR outcome IS NULL) AND ($2::uuid IS NULL OR (died_at, id) >"
                f" (SELECT died_at, id FROM {self._table} WHERE id = $2)) ORDER BY died_at, id LIMIT $3",
                waiting,
                cursor,
                limit,
            )
        return [_shown(row) for row in rows]

    async def read(self, id: UUID) -> dict[str, Any]:
        """One dead letter with its record and stack trace. Raises NotFound."""
        async with self._fold.database.connection() as tx:
            row = await tx.fetchrow(f"SELECT * FROM {self._table} WHERE id = $1", id)
        if row is None:
            raise NotFound(f"there is no dead letter {id}")
        return {**_shown(row), "trace": row["trace"], "record": _legible(row["value"])}

    async def replay(self, id: UUID, by: str, mended: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Apply the record now, in its own transaction; `mended` replaces its `data`, if given.

        If the record fails again, nothing changes and Conflict says why. Raises NotFound; Conflict if it was already
        replayed or discarded; Unavailable (and what asyncpg raises) if the cause is not the record.
        """
        fold = self._fold
        async with fold.database.transaction() as tx:
            row = await self._claim(tx, id)
            value = _mended(row["value"], mended) if mended is not None else row["value"]
            tp, key = await self._destination(tx, row)
            stored = await fold.positions.load(tx, tp, lock=True)  # the replay takes place here, between two batches
            if key != (await self._destination(tx, row))[1]:
                raise Unavailable("the customer of this record is being merged just now: try again")
            record = Record(*tp, row["offset"], key, value, row["died_at"], row["offset"])
            batch = Batch(tp, [record], stored.rulebook, stored.position.next)
            try:
                async with tx.transaction():
                    outcome = await fold.handler.apply(tx, [batch])
                    if outcome.taken:
                        raise Blocked("it waits for another customer's records")
                    written = await append(tx, fold.writes, outcome.outgoing, fold.partitions)
            except Exception as error:
                if not is_poison(error):
                    raise
                raise Conflict(
                    f"the record fails again, with {type(error).__name__}: {error}. Fix its data, or discard it with a reason."
                ) from error
            stamp = await self._stamp(tx, batch, len(outcome.outgoing))
            await self._settle(tx, id, "replayed", "mended" if mended is not None else None, by)
            await tx.execute(
                f"UPDATE {self._table} SET stamp = $2, replayed_key = $3, mended = $4 WHERE id = $1",
                id,
                stamp,
                key,
                value if mended is not None else None,
            )
        fold.notifier.notify_later(fold.writes, written)
        for done in outcome.committed:
            done()
        return await self.read(id)

    async def skip(self, by: str, reason: str) -> dict[TopicPartition, int]:
        """Allow the fold to skip failing records again, up to the current ends of its partitions (see `breaker`).

        Returns those ends. Commits.
        """
        fold = self._fold
        lags = await fold.lag()
        async with fold.database.transaction() as tx:
            positions = await fold.positions.all(tx)
            through = {tp: positions[tp].next + lag.records for tp, lag in lags.items()}
            await fold.breaker.allow(tx, through)
        logger.warning("failing records are skipped again, up to the current ends", by=by, reason=reason)
        return through

    async def discard(self, id: UUID, by: str, reason: str) -> dict[str, Any]:
        """Settle a dead letter without applying it, and store the reason. Commits."""
        async with self._fold.database.transaction() as tx:
            await self._claim(tx, id)
            await self._settle(tx, id, "discarded", reason, by)
        return await self.read(id)

    async def _destination(self, tx: Tx, row: asyncpg.Record) -> tuple[TopicPartition, str]:
        """The record's current partition and key: its customer may have been merged since it failed."""
        if row["topic"] != JOURNAL or not UUID_KEY.fullmatch(row["key"]):
            return TopicPartition(row["topic"], row["partition"]), row["key"]
        key = str(await survivor(tx, self._fold.service, UUID(row["key"])))
        return TopicPartition(JOURNAL, partition_of(key, self._fold.partitions)), key

    async def waiting(self) -> list[UUID]:
        """The ids of all waiting dead letters, in the order of their records."""
        async with self._fold.database.connection() as tx:
            rows = await tx.fetch(
                f'SELECT id FROM {self._table} WHERE outcome IS NULL ORDER BY topic, partition, "offset"'
            )
        return [row["id"] for row in rows]

    async def _claim(self, tx: Tx, id: UUID) -> asyncpg.Record:
        row: asyncpg.Record | None = await tx.fetchrow(f"SELECT * FROM {self._table} WHERE id = $1 FOR UPDATE", id)
        if row is None:
            raise NotFound(f"there is no dead letter {id}")
        if row["outcome"] is not None:
            raise Conflict(f"dead letter {id} was {row['outcome']} already, by {row['settled_by']}")
        return row

    async def _stamp(self, tx: Tx, batch: Batch, made: int) -> str:
        """Where the record was replayed: its place, and for a customer's record also the number of facts before it.

        A replay puts the record back there. `made` is the number of facts that the record led to. The customer's row is
        locked only now, because shared resources must be locked first.
        """
        key, place = batch.records[0].key, batch.place(0)
        if batch.tp.topic != JOURNAL or not UUID_KEY.fullmatch(key):
            return place
        customers = f'"{self._fold.service}".customers'
        await tx.execute(f"INSERT INTO {customers} (id) VALUES ($1) ON CONFLICT DO NOTHING", UUID(key))
        facts = await tx.fetchval(f"SELECT facts FROM {customers} WHERE id = $1 FOR UPDATE", UUID(key))
        return f"{place}/{facts - made}"

    async def _settle(self, tx: Tx, id: UUID, outcome: str, reason: str | None, by: str) -> None:
        await tx.execute(
            f"UPDATE {self._table} SET outcome = $2, reason = $3, settled_by = $4, settled_at = clock_timestamp()"
            " WHERE id = $1",
            id,
            outcome,
            reason,
            by,
        )


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "origin": {"topic": row["topic"], "partition": row["partition"], "offset": row["offset"], "key": row["key"]},
        "error": row["error"],
        "died_at": row["died_at"],
        "outcome": row["outcome"] or "waiting",
        "reason": row["reason"],
        "settled_by": row["settled_by"],
        "settled_at": row["settled_at"],
    }


def _legible(value: bytes) -> Any:
    """The record as JSON, or in base64 if it is not JSON."""
    try:
        return json.loads(value)
    except ValueError:
        return {"base64": base64.b64encode(value).decode()}


def _mended(value: bytes, data: Mapping[str, Any]) -> bytes:
    record = _legible(value)
    if not isinstance(record, dict) or "specversion" not in record:
        raise Invalid("the record is not a CloudEvent, so its data cannot be replaced: discard it with a reason")
    old = record.get("data")
    snapshot = {"customer": old["customer"]} if isinstance(old, dict) and "customer" in old else {}
    record["data"] = {**data, **snapshot}
    return json.dumps(record, separators=(",", ":")).encode()


def _storable(text: str) -> str:
    """Text that PostgreSQL accepts. If a dead letter could not be stored, its partition would stop."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
