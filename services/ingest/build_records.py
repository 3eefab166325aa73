"""A request's events → records for the log, and an answer for each event, in its order."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

import msgspec

from libs.common.contracts import ids, records
from libs.common.contracts.events import TYPES, Kind, event_name
from libs.common.contracts.json_faults import fault
from libs.common.errors import Malformed
from libs.common.log.append import Outgoing
from services.ingest.domain import hints, limits
from services.ingest.domain.body import Payload, Unreadable
from services.ingest.domain.limits import Rejection
from services.ingest.domain.normalise import Normalised, key, normalise
from services.ingest.domain.order_warnings import order_warnings
from services.ingest.domain.private_fields import PrivateFields
from services.ingest.domain.reading.mend import named
from services.ingest.domain.reading.sound import Delivery
from services.ingest.plan.compiled import CompiledPlan, Violation
from services.ingest.queries import Grant
from services.ingest.rejections import Refused

#: How a reason begins that the tracking plan gives.
PLAN = "tracking plan: "

_encode = msgspec.json.Encoder().encode


class EventResult(msgspec.Struct, omit_defaults=True):
    """What became of one event."""

    status: Literal["ok", "warning", "rejected"]
    messageId: str | None
    reason: str | None = None


@dataclass
class BuiltRecords:
    """`records` are to be appended before `results` may be answered; `refused` go into the list of rejected events.

    `violations` of the tracking plan are counted, whatever became of their events.
    """

    records: list[Outgoing] = field(default_factory=list)
    results: list[EventResult] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)


class EntryRules(NamedTuple):
    """What decides on a source's events, beside themselves. `blocked` are the workspace's own ids that identify nobody;
    private fields are changed before anything is kept."""

    blocked: Set[str] = frozenset()
    plan: CompiledPlan | None = None
    private: PrivateFields | None = None


NO_RULES = EntryRules()


def build_records(
    payload: Payload,
    kind: Kind | None,
    grant: Grant,
    received_at: datetime,
    traceparent: str | None,
    rules: EntryRules = NO_RULES,
) -> BuiltRecords:
    """Decide on each event alone.

    Raises Malformed or Oversized on an envelope whose `context` cannot be shared out.
    """
    context = _shared_context(payload)
    delivery = Delivery(
        received_at=received_at,
        kind=kind,
        sent_at=payload.sentAt,
        context=context,
        context_bytes=len(payload.context) if context else 0,
        currency=grant.currency,
        odd=payload.odd,
        blocked=rules.blocked,
    )
    built = BuiltRecords()
    source = f"/apps/{grant.source}"
    for each in payload.events:
        add_event(built, bytes(each), delivery, source, rules, received_at, traceparent)
    return _with_unreadable(built, payload.unreadable, rules) if payload.unreadable else built


def add_event(
    built: BuiltRecords,
    raw: bytes,
    delivery: Delivery,
    source: str,
    rules: EntryRules,
    recorded_at: datetime,
    traceparent: str | None,
) -> None:
    """Decide on one event. `recorded_at` is when its record is made: later than the delivery for one that is replayed."""
    try:
        normalised = normalise(raw, delivery)
    except Rejection as rejection:
        _refuse(built, raw, delivery.kind, str(rejection), rules.private)
        return
    event, occurred_at, warnings, sent_id = normalised
    if rules.private is not None:
        rules.private.apply(event)
    if not event.messageId:
        event.messageId = str(ids.fresh())
    if rules.plan is not None and _refuses(rules.plan, built, normalised):
        return
    type_ = TYPES[event.type]
    value = records.encode(
        id=str(ids.derived(source, event.messageId, type_, event.event or "")),
        source=source,
        type=type_,
        time=occurred_at,
        recordedtime=recorded_at,
        traceparent=traceparent,
        data=event,
    )
    if event.type == "track":
        warnings += order_warnings(event)
    elif event.type == "alias":
        warnings += hints.doubtful_alias(event)
    built.records.append(Outgoing(key(event), value, occurred_at, event_name(event.type, event.event)))
    reason = "; ".join(warnings)
    built.results.append(EventResult("warning" if reason else "ok", sent_id or event.messageId, reason or None))


def _refuses(plan: CompiledPlan, built: BuiltRecords, normalised: Normalised) -> bool:
    """Hold an event against the plan: count what it violates, warn, or refuse it.

    What is kept of a refused one can be sent again by itself: it has its id, its time and the batch's context.
    """
    event, occurred_at, warnings, sent_id = normalised
    violation = plan.violation(event)
    if violation is None:
        return False
    built.violations.append(violation)
    reason = f"{PLAN}{violation.rule}"
    if violation.mode == "warn":
        warnings.append(reason)
    if violation.mode != "refuse":
        return False
    body = b'%b,"timestamp":%b}' % (_encode(event)[:-1], _encode(occurred_at))
    built.results.append(EventResult("rejected", sent_id or event.messageId, reason))
    built.refused.append(Refused(reason, body, event.type, event.messageId, event.event))
    return True


def _refuse(built: BuiltRecords, raw: bytes, kind: Kind | None, reason: str, private: PrivateFields | None) -> None:
    reason += hints.misspelt(raw)
    type_, message_id, event = named(raw)
    built.results.append(EventResult("rejected", message_id, reason))
    body = raw if private is None else private.applied(raw)
    built.refused.append(Refused(reason, body, kind or type_, message_id, event))


def _with_unreadable(built: BuiltRecords, unreadable: Sequence[Unreadable], rules: EntryRules) -> BuiltRecords:
    """The same, and what its protocol's reader refused, each in its place. Where private fields are in it, nobody knows."""
    at = {each.place: each for each in unreadable}
    results, refused = iter(built.results), iter(built.refused)
    whole = BuiltRecords(built.records, violations=built.violations)
    for place in range(len(built.results) + len(unreadable)):
        if (each := at.get(place)) is not None:
            whole.results.append(EventResult("rejected", each.message_id, each.reason))
            whole.refused.append(Refused(each.reason, b"" if rules.private else each.raw, None, each.message_id, None))
            continue
        whole.results.append(result := next(results))
        if result.status == "rejected":
            whole.refused.append(next(refused))
    return whole


def _shared_context(payload: Payload) -> dict[str, object]:
    raw = payload.context
    if raw == b"null":
        return {}
    if len(raw) * len(payload.events) > limits.MERGED:
        raise limits.Oversized(
            "the batch's `context` is too large to be shared by so many events: send smaller batches"
        )
    try:
        context = msgspec.json.decode(raw)
        if limits.is_odd(raw):
            context = limits.tidied(context)
    except Rejection as rejection:
        raise Malformed(f"the batch's `context` cannot be taken: {rejection}") from None
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the batch's `context` cannot be read: {fault(raw, error)}") from None
    return context if isinstance(context, dict) else {}
