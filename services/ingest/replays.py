"""Replays of rejected events: as they came or mended, under the plan and the settings of now, once."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_args
from uuid import UUID

import asyncpg
import msgspec

from libs.common.contracts.events import Kind
from libs.common.db.pool import Tx
from libs.common.errors import Conflict
from libs.common.runtime.postgres import Postgres
from services.ingest import queries, store
from services.ingest.build_records import BuiltRecords, EventResult, add_event
from services.ingest.commit import GroupCommit
from services.ingest.domain import limits
from services.ingest.domain.reading.mend import named
from services.ingest.domain.reading.sound import Delivery
from services.ingest.entry_rules import RulesInForce
from services.ingest.queries import Grant
from services.ingest.results import Results

#: What the usage of replayed events is counted under: they came by no key.
THROUGH = UUID(int=0)

_encode = msgspec.json.Encoder().encode
_result = msgspec.json.Decoder(EventResult).decode


class Replay(NamedTuple):
    """What became of one rejected event. `replayed_at` is None when it was rejected again."""

    id: UUID
    result: EventResult
    replayed_at: datetime | None


class Wanted(NamedTuple):
    """Which rejected events to replay, oldest first: those after the id `after` that were not replayed yet.

    `reason` is a part of the reason; None stands for any.
    """

    source: str | None
    event: str | None
    reason: str | None
    after: UUID
    limit: int


class Replays:
    """A replayed event has the messageId that it was rejected with, so a replay that is cut off and repeated counts once."""

    def __init__(
        self,
        postgres: Postgres,
        commit: GroupCommit,
        imports: GroupCommit,
        rules: RulesInForce,
        results: Results,
    ) -> None:
        self._postgres = postgres
        self._commit = commit
        self._imports = imports
        self._rules = rules
        self._results = results
        self._one_at_a_time = asyncio.Lock()  # each holds a connection while the group commit needs another

    async def one(self, id: UUID, mended: dict[str, Any] | None) -> Replay:
        """Replay one event, with another body if one is given. If it was replayed, the answer is that of the first time.

        Raises NotFound; Conflict when only a part of its body was kept; Unavailable.
        """
        async with self._one_at_a_time, self._postgres.database.transaction() as tx:
            row = await queries.locked_rejected(tx, id)
            if row["replayed_at"] is not None:
                return Replay(id, _result(row["result"]), row["replayed_at"])
            if mended is None and len(row["body"]) < row["size"]:
                raise Conflict(
                    f"Only the first {len(row['body']):,} of its {row['size']:,} bytes were kept: send the event as `body`."
                )
            (replay,) = await self._replay(tx, [(row, mended)])
        return replay

    async def all(self, wanted: Wanted) -> list[Replay]:
        """Replay those of the wanted events that were kept whole. Raises NotFound, Unavailable."""
        async with self._one_at_a_time, self._postgres.database.transaction() as tx:
            rows = await queries.lock_rejected(tx, *wanted)
            return await self._replay(tx, [(row, None) for row in rows])

    async def _replay(self, tx: Tx, given: list[tuple[asyncpg.Record, dict[str, Any] | None]]) -> list[Replay]:
        """Decide on the events, store those that are accepted, and note it in the caller's transaction."""
        now = datetime.now(UTC)
        replays: list[Replay] = []
        accepted: dict[Grant, BuiltRecords] = {}
        by_log: dict[bool, BuiltRecords] = defaultdict(BuiltRecords)
        for row, mended in given:
            grant = _grant(row)
            built = self._built(row, mended, grant, now)
            (result,) = built.results
            replays.append(Replay(row["id"], result, now if built.records else None))
            if built.records:
                by_log[row["imported"]].records += built.records
                of_source = accepted.setdefault(grant, BuiltRecords())
                of_source.records += built.records
                of_source.results += built.results
                of_source.violations += built.violations
        for imported, built in by_log.items():
            await (self._imports if imported else self._commit).append(built.records)
        for grant, built in accepted.items():
            self._results.stored(grant, now, built)
        await store.note_replayed(
            tx, [(each.id, now, _encode(each.result).decode()) for each in replays if each.replayed_at is not None]
        )
        return replays

    def _built(self, row: asyncpg.Record, mended: dict[str, Any] | None, grant: Grant, now: datetime) -> BuiltRecords:
        raw, names_its_type = _event(row, mended)
        rules = self._rules.of(grant)
        delivery = Delivery(
            received_at=row["received_at"],
            kind=None if names_its_type or row["type"] not in get_args(Kind) else row["type"],
            currency=grant.currency,
            blocked=rules.blocked,
        )
        built = BuiltRecords()
        add_event(built, raw, delivery, f"/apps/{grant.source}", rules, now, None)
        return built


def _grant(row: asyncpg.Record) -> Grant:
    currency, private = row["default_currency"], row["private_fields"]
    return Grant(row["source_id"], row["source"], currency, None, None, THROUGH, private_fields=private)


def _event(row: asyncpg.Record, mended: dict[str, Any] | None) -> tuple[bytes, bool]:
    """The event with a messageId, so that it counts once; and whether it says itself what type it is, for the first time."""
    raw = bytes(row["body"]) if mended is None else _encode(mended)
    type_, message_id, _ = named(raw)
    if not message_id:
        try:
            members = msgspec.json.decode(limits.without_halves(raw), type=dict[str, Any])
        except (ValueError, RecursionError):
            return raw, False  # it will be rejected again
        members["messageId"] = row["message_id"] or f"rejected-{row['id']}"
        raw = _encode(members)
    return raw, mended is not None and type_ is not None
