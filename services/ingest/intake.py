"""A request's events → records for the log, and an answer for each event, in its order."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from libs.common.contracts import ids, orders, records
from libs.common.contracts.events import TYPES, ClientEvent, Kind, event_name
from libs.common.contracts.json_faults import fault
from libs.common.errors import Malformed
from libs.common.log.append import Outgoing
from services.ingest.domain import hints, limits
from services.ingest.domain.body import Envelope
from services.ingest.domain.limits import Rejection
from services.ingest.domain.normalise import Delivery, Normalised, key, named, normalise, read
from services.ingest.domain.plain import plain
from services.ingest.queries import Grant
from services.ingest.rejections import Refused


class Verdict(msgspec.Struct, omit_defaults=True):
    """What became of one event."""

    status: Literal["ok", "warning", "rejected"]
    messageId: str | None
    reason: str | None = None


@dataclass
class Intake:
    """`records` are to be appended before `verdicts` may be answered; `refused` go into the list of rejected events."""

    records: list[Outgoing] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def take_in(
    envelope: Envelope, kind: Kind | None, grant: Grant, received_at: datetime, traceparent: str | None
) -> Intake:
    """Decide on each event alone. Raises Malformed or Oversized on an envelope whose `context` cannot be shared out."""
    context = _shared_context(envelope)
    delivery = Delivery(
        received_at=received_at,
        kind=kind,
        sent_at=envelope.sentAt,
        context=context,
        context_bytes=len(envelope.context) if context else 0,
        currency=grant.currency,
        odd=envelope.odd,
    )
    intake = Intake()
    source = f"/apps/{grant.source}"
    for each in envelope.events:
        raw, came = bytes(each), None
        try:
            normalised = plain(raw, delivery)
            if normalised is None:
                sent = read(raw)
                normalised = normalise(sent, raw, delivery)
                came = sent.messageId
        except Rejection as rejection:
            _refuse(intake, raw, str(rejection))
        else:
            _accept(intake, normalised, came, source, received_at, traceparent)
    return intake


def _accept(
    intake: Intake, normalised: Normalised, came: object, source: str, received_at: datetime, traceparent: str | None
) -> None:
    """`came` is the messageId as the client sent it, by which it tells the answer's results apart."""
    event, occurred_at, warnings = normalised
    if not event.messageId:
        event.messageId = str(ids.fresh())
    type_ = TYPES[event.type]
    value = records.encode(
        id=ids.derived_text(source, event.messageId, type_, event.event or ""),
        source=source,
        type=type_,
        time=occurred_at,
        recordedtime=received_at,
        traceparent=traceparent,
        data=event,
    )
    if event.event in (orders.COMPLETED, orders.REFUNDED, orders.CANCELLED):
        warnings += _doubts(event)
    intake.records.append(Outgoing(key(event), value, occurred_at, event_name(event.type, event.event)))
    reason = "; ".join(warnings)
    message_id = came if came and isinstance(came, str) else event.messageId
    intake.verdicts.append(Verdict("warning" if reason else "ok", message_id, reason or None))


def _refuse(intake: Intake, raw: bytes, reason: str) -> None:
    reason += hints.misspelt(raw)
    type_, message_id = named(raw)
    intake.verdicts.append(Verdict("rejected", message_id, reason))
    intake.refused.append(Refused(reason, raw, type_, message_id))


def _doubts(event: ClientEvent) -> list[str]:
    """A warning when other services will not be able to read the order's amount."""
    try:
        order = orders.decode_order(msgspec.json.encode(event))
        amount = None if event.event == orders.CANCELLED else order.money
    except (ValueError, ArithmeticError) as error:
        return [f"the amount of this {event.event} cannot be read ({error}): it will wait among the dead letters"]
    if event.event == orders.COMPLETED and amount is None:
        return ["no revenue, total or products: the order counts with no amount"]
    if amount is not None and amount.minor < 0 and event.event == orders.COMPLETED:
        return ["the amount is below zero, and counts as zero: what was paid back is an Order Refunded"]
    return []


def _shared_context(envelope: Envelope) -> dict[str, object]:
    raw = envelope.context
    if raw == b"null":
        return {}
    if len(raw) * len(envelope.events) > limits.MERGED:
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
