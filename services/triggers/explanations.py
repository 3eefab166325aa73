"""Why a customer did or did not get a hook's message: everything that is known, gathered, and one sentence of it."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Envelope
from libs.common.db.pool import Tx
from libs.common.errors import Invalid, NotFound
from libs.common.fold.decider import DEEPEST
from libs.common.fold.service import ConsumerService
from libs.common.log.partition import partition_of
from libs.common.log.reader import Lag, TopicPartition
from libs.common.rules import rule_event
from services.triggers import queries
from services.triggers.decider import TriggersDecider, TriggersHandler
from services.triggers.domain.decide import OPTED_OUT, message_id
from services.triggers.domain.explain import CONDITION_FALSE, PROPERTY_ABSENT, Explanation, Record, explain
from services.triggers.domain.quiet import Quiet
from services.triggers.domain.rules import Rules, compiled

PATIENCE = 1.0
"""Seconds that a question waits for the fold to read what had been written when it was asked."""

UNKNOWN_CUSTOMER = "unknown_customer"
NO_EVENT = "no_event"
ANOTHER_VERSION = "another_version"
#: Answers that a record not yet read could change.
_OPEN = (UNKNOWN_CUSTOMER, NO_EVENT, ANOTHER_VERSION, CONDITION_FALSE, PROPERTY_ABSENT)


async def why(part: ConsumerService, handler: TriggersHandler, id: UUID, ref: str, version: int | None) -> Explanation:
    """One sentence about a hook and a customer. Raises NotFound for an unknown hook or version only."""
    async with part.read() as tx:
        await queries.hook(tx, id)
        if version is not None:
            await queries.hook_content(tx, id, version)
    lag = await _caught_up(part, handler, ref)
    async with part.read() as tx:
        answer = await _answer(tx, part, handler, await queries.hook(tx, id), ref, version)
    if lag is None or answer.verdict not in _OPEN:
        return answer
    behind = f"triggers is still {lag.seconds:.0f} seconds ({lag.records:,} records) behind"
    details = {**answer.details, "lag": lag._asdict(), "so_far": answer.verdict}
    return Explanation("behind", f"This may change, as {behind}: {answer.sentence}", details)


async def _answer(
    tx: Tx, part: ConsumerService, handler: TriggersHandler, row: queries.Row, ref: str, version: int | None
) -> Explanation:
    name, live = row["name"], row["live_version"]
    try:
        customer, state = await queries.customer(tx, handler.customers, ref)
    except (NotFound, Invalid) as unknown:
        said = unknown.detail.removesuffix(".")
        return Explanation(UNKNOWN_CUSTOMER, f"{said[0].upper()}{said[1:]}.")
    if live is None:
        return Explanation("never_published", f"The hook {name!r} is a draft that was never published.")
    if version is not None and version != live:
        said = f"Version {version} of {name!r} is not the one in force: that is version {live}, since {_at(row['published_at'])}."
        return Explanation(ANOTHER_VERSION, said, {"version": version, "live_version": live})
    hook = await queries.hook_content(tx, row["id"], live)
    event = hook.trigger.event
    last = await queries.last_event(tx, customer, event)
    if last is not None and (decided := await queries.decision(tx, customer, row["id"], last["record"])) is not None:
        return _decided(decided, live)
    if last is not None and await queries.has_tombstone(tx, UUID(message_id(last["record"], str(row["id"])))):
        said = f"What became of the message for the {event} of {_at(last['occurred_at'])} is not known any more: it ended longer ago"
        details = {"event": event, "last_seen": last["occurred_at"]}
        return Explanation("forgotten", f"{said} than messages are kept.", details)
    earlier = _earlier(await queries.last_sent(tx, customer, row["id"]))
    if row["status"] == "paused":
        said = f"The hook {name!r} is paused since {_at(row['paused_at'])} ({row['paused_reason']}){earlier}."
        return Explanation("paused", said, {"paused_at": row["paused_at"], "reason": row["paused_reason"]})
    if last is None or last["folded_at"] < row["first_at"]:
        seen = "never" if last is None else _at(last["occurred_at"])
        said = f"The customer has done no {event} since the hook was published at {_at(row['first_at'])} (last seen: {seen})"
        details = {"event": event, "last_seen": last and last["occurred_at"], "published_at": row["first_at"]}
        return Explanation(NO_EVENT, f"{said}{earlier}.", details)
    if last["folded_at"] < row["in_force_at"]:
        said = f"The last {event} ({_at(last['occurred_at'])}) came before version {live} was put in force at"
        details = {"last_seen": last["occurred_at"], "in_force_at": row["in_force_at"], "live_version": live}
        return Explanation(ANOTHER_VERSION, f"{said} {_at(row['in_force_at'])}, and none came since{earlier}.", details)
    record = happened(last, await in_force(tx, part, handler.decider, customer))
    answer = explain(compiled(str(row["id"]), live, hook), record, state)
    if record.input.depth >= DEEPEST and answer.verdict not in _OPEN:
        said = f"The last {event} lies {record.input.depth} facts below an event, and rules that start each other end there."
        return Explanation("too_deep", said, answer.details)
    return replace(answer, sentence=f"{answer.sentence.removesuffix('.')}{earlier}.")


async def in_force(tx: Tx, part: ConsumerService, decider: TriggersDecider, customer: UUID) -> Rules:
    """The rules in force at the customer's place in the journal."""
    where = TopicPartition(JOURNAL, partition_of(str(customer), part.fold.partitions))
    return await decider.rules(tx, (await part.fold.positions.load(tx, where)).rulebook)


def happened(last: Mapping[str, Any], rules: Rules) -> Record:
    """A customer's last event as the fold saw it."""
    envelope = Envelope(
        id=last["record"],
        source=last["source"],
        type=last["type"],
        time=last["occurred_at"],
        recordedtime=last["received_at"],
        depth=last["depth"],
        data=msgspec.Raw(last["data"]),
    )
    body = rule_event.read(envelope)
    if body is None:
        raise LookupError(f"{last['record']} was kept, and cannot be read any more")
    input = Input(envelope.id, envelope.type, envelope.source, envelope.time, envelope.recordedtime, envelope.depth,
                  envelope.source == TriggersDecider.source, None, body)  # fmt: skip
    return Record(body, input, rules)


def _decided(row: queries.Row, live: int) -> Explanation:
    """What became of the message for the last event."""
    where = "the inbox" if row["channel"] == "inbox" else "the webhook"
    under = "" if row["version"] == live else f" (by version {row['version']}; now version {live} is in force)"
    what = f"the {row['event']} of {_at(row['occurred_at'])}{under}"
    names = (
        "id",
        "state",
        "version",
        "reason",
        "detail",
        "channel",
        "occurred_at",
        "decided_at",
        "attempts",
        "seen_at",
    )
    details = {name: row[name] for name in names} | {"message": row["id"]}
    details["settled_at"] = row["settled_at"]
    match row["state"]:
        case "withheld":
            verdict = OPTED_OUT if row["reason"] == OPTED_OUT else "withheld"
            return Explanation(verdict, f"The message for {what} was withheld: {row['detail']}.", details)
        case "failed":
            return Explanation("failed", f"The message for {what} could not be delivered: {row['detail']}.", details)
        case "queued":
            if row["lease"] is not None:
                return Explanation(
                    "queued", f"The message for {what} is on its way to {where} at this moment.", details
                )
            if row["not_before"] is not None and row["next_at"] == row["not_before"]:
                hours = msgspec.json.decode(row["quiet_hours"], type=Quiet)
                details |= {"quiet_hours": str(hours), "not_before": row["not_before"]}
                said = f"until {_at(row['not_before'])}, when the quiet hours end ({hours})"
                return Explanation("queued", f"The message for {what} waits {said}.", details)
            tried = f", and will be tried again at {_at(row['next_at'])}: {row['detail']}" if row["detail"] else ""
            return Explanation("queued", f"The message for {what} is queued for {where}{tried}.", details)
    sent = f"The message for {what} was sent to {where} at {_at(row['settled_at'])}"
    if row["seen_at"] is not None:
        return Explanation("seen", f"{sent} and seen at {_at(row['seen_at'])}.", details)
    return Explanation("sent", f"{sent}{' and not seen yet' if row['channel'] == 'inbox' else ''}.", details)


def _earlier(row: queries.Row | None) -> str:
    if row is None:
        return ""
    return (
        f"; the last message was sent at {_at(row['settled_at'])}, for the {row['event']} of {_at(row['occurred_at'])}"
    )


def _at(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


async def _caught_up(part: ConsumerService, handler: TriggersHandler, ref: str) -> Lag | None:
    """Wait until the fold has read what had been written; the lag that remains when it does not get there."""
    try:
        async with part.read() as tx:
            customer, _ = await queries.customer(tx, handler.customers, ref)
        wheres = [TopicPartition(JOURNAL, partition_of(str(customer), part.fold.partitions))]
    except (NotFound, Invalid):
        wheres = part.fold.wheres
    deadline = time.monotonic() + PATIENCE
    heads: dict[TopicPartition, int] = {}
    while True:
        async with part.read() as tx:
            positions = {where: (await part.fold.positions.load(tx, where)).position for where in wheres}
        lags = await part.fold.reader.lag(positions)
        heads = heads or {where: positions[where].next + lag.records for where, lag in lags.items()}
        if all(positions[where].next >= head for where, head in heads.items()):
            return None
        if time.monotonic() > deadline:
            return _largest(lags.values())
        await asyncio.sleep(0.02)


def _largest(lags: Iterable[Lag]) -> Lag:
    found = list(lags)
    return Lag(sum(lag.records for lag in found), max(lag.seconds for lag in found))
