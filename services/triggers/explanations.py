"""Explanations: why a customer did or did not get a hook's message, in one sentence with its details."""

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
"""Seconds that a question waits for the fold to read the records written before it."""

UNKNOWN_CUSTOMER = "unknown_customer"
NO_EVENT = "no_event"
ANOTHER_VERSION = "another_version"
#: Verdicts that an unread record could change.
_OPEN = (UNKNOWN_CUSTOMER, NO_EVENT, ANOTHER_VERSION, CONDITION_FALSE, PROPERTY_ABSENT)


async def why(part: ConsumerService, handler: TriggersHandler, id: UUID, ref: str, version: int | None) -> Explanation:
    """Explain a hook's behaviour towards a customer. Raises NotFound, only for an unknown hook or version."""
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
        detail = unknown.detail.removesuffix(".")
        return Explanation(UNKNOWN_CUSTOMER, f"{detail[0].upper()}{detail[1:]}.")
    if live is None:
        return Explanation("never_published", f"The hook {name!r} is a draft that was never published.")
    if version is not None and version != live:
        sentence = (
            f"Version {version} of {name!r} is not in force: version {live} is, since {_at(row['published_at'])}."
        )
        return Explanation(ANOTHER_VERSION, sentence, {"version": version, "live_version": live})
    hook = await queries.hook_content(tx, row["id"], live)
    event = hook.trigger.event
    last = await queries.last_event(tx, customer, event)
    if last is not None and (decided := await queries.decision(tx, customer, row["id"], last["record"])) is not None:
        return _decided(decided, live)
    if last is not None and await queries.has_tombstone(tx, UUID(message_id(last["record"], str(row["id"])))):
        sentence = f"The message for the {event} of {_at(last['occurred_at'])} was deleted: it ended longer ago"
        details = {"event": event, "last_seen": last["occurred_at"]}
        return Explanation("expired", f"{sentence} than messages are kept.", details)
    earlier = _earlier(await queries.last_sent(tx, customer, row["id"]))
    if row["status"] == "paused":
        sentence = f"The hook {name!r} has been paused since {_at(row['paused_at'])} ({row['paused_reason']}){earlier}."
        return Explanation("paused", sentence, {"paused_at": row["paused_at"], "reason": row["paused_reason"]})
    if last is None or last["folded_at"] < row["first_at"]:
        seen = "never" if last is None else _at(last["occurred_at"])
        sentence = f"The customer has had no {event} since the hook was published at {_at(row['first_at'])} (last seen: {seen})"
        details = {"event": event, "last_seen": last and last["occurred_at"], "published_at": row["first_at"]}
        return Explanation(NO_EVENT, f"{sentence}{earlier}.", details)
    if last["folded_at"] < row["in_force_at"]:
        sentence = f"The last {event} ({_at(last['occurred_at'])}) came before version {live} was put in force at"
        details = {"last_seen": last["occurred_at"], "in_force_at": row["in_force_at"], "live_version": live}
        return Explanation(
            ANOTHER_VERSION, f"{sentence} {_at(row['in_force_at'])}, and none came since{earlier}.", details
        )
    record = happened(last, await in_force(tx, part, handler.decider, customer))
    answer = explain(compiled(str(row["id"]), live, hook), record, state)
    if record.input.depth >= DEEPEST and answer.verdict not in _OPEN:
        sentence = f"The last {event} is {record.input.depth} facts below an event, where chains of rules end."
        return Explanation("too_deep", sentence, answer.details)
    return replace(answer, sentence=f"{answer.sentence.removesuffix('.')}{earlier}.")


async def in_force(tx: Tx, part: ConsumerService, decider: TriggersDecider, customer: UUID) -> Rules:
    """The rules in force at the position of the customer's partition."""
    where = TopicPartition(JOURNAL, partition_of(str(customer), part.fold.partitions))
    return await decider.rules(tx, (await part.fold.positions.load(tx, where)).rulebook)


def happened(last: Mapping[str, Any], rules: Rules) -> Record:
    """A customer's last event, as the fold saw it."""
    envelope = Envelope(
        id=last["record"],
        source=last["source"],
        type=last["type"],
        time=last["occurred_at"],
        recordedtime=last["received_at"],
        depth=last["depth"],
        imported=last["imported"],
        data=msgspec.Raw(last["data"]),
    )
    body = rule_event.read(envelope)
    if body is None:
        raise LookupError(f"the stored record {last['record']} cannot be read")
    input = Input(envelope.id, envelope.type, envelope.source, envelope.time, envelope.recordedtime, envelope.depth,
                  envelope.source == TriggersDecider.source, None, body, imported=envelope.imported)  # fmt: skip
    return Record(body, input, rules)


def _decided(row: queries.Row, live: int) -> Explanation:
    """Explain the outcome of the message for the last event."""
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
                return Explanation("queued", f"The message for {what} is being sent to {where}.", details)
            if row["not_before"] is not None and row["next_at"] == row["not_before"]:
                hours = msgspec.json.decode(row["quiet_hours"], type=Quiet)
                details |= {"quiet_hours": str(hours), "not_before": row["not_before"]}
                sentence = f"until {_at(row['not_before'])}, when the quiet hours end ({hours})"
                return Explanation("queued", f"The message for {what} waits {sentence}.", details)
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
    """Wait until the fold has read the records written so far. Returns the lag that remains if it does not get there."""
    try:
        async with part.read() as tx:
            customer, _ = await queries.customer(tx, handler.customers, ref)
        tps = [TopicPartition(JOURNAL, partition_of(str(customer), part.fold.partitions))]
    except (NotFound, Invalid):
        tps = part.fold.tps
    deadline = time.monotonic() + PATIENCE
    heads: dict[TopicPartition, int] = {}
    while True:
        async with part.read() as tx:
            positions = {where: (await part.fold.positions.load(tx, where)).position for where in tps}
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
