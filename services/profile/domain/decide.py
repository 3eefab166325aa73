"""The decisions on an event: whose it is, what it says of consent, and the facts that follow."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from libs.common.contracts.consent import parts_of
from libs.common.contracts.ids import derived
from libs.common.contracts.profile import ConsentChanged
from libs.common.contracts.records import Envelope, Fact, encode
from services.profile.domain.consent import Change, Choice, Proof, changed, stated
from services.profile.domain.events import Event
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.state import Customer, micros

SOURCE = "/profile"


class Pair(NamedTuple):
    """One user with one device of an event: the arguments of `identity.match`."""

    user: str | None
    device: str | None


def pairs(event: Event) -> list[Pair]:
    """The pairs of an event, in order. An alias has up to two devices, most events one or none."""
    return [Pair(event.user, device) for device in event.devices] or [Pair(event.user, None)]


class Cause(NamedTuple):
    """What a fact follows from. `id` is None for what happens by itself: time has passed, or a segment was published."""

    id: str | None
    at: datetime
    received: datetime
    traceparent: str | None = None
    depth: int = 0
    imported: bool = False

    @classmethod
    def event(cls, event: Event) -> "Cause":
        return cls(str(event.id), event.at, event.received, event.traceparent, imported=event.imported)

    @classmethod
    def record(cls, envelope: Envelope) -> "Cause":
        return cls(
            envelope.id,
            envelope.time,
            envelope.recordedtime,
            envelope.traceparent,
            envelope.depth,
            envelope.imported,
        )


def consent(state: Customer, event: Event) -> Change | None:
    """What an event changes of its customer's consent; None if it says nothing of it."""
    return None if event.consent is None else stated(state.consent, event.consent.statements, micros(event.at))


def consent_changes(before: Mapping[str, Choice], after: Mapping[str, Choice], proof: Proof) -> list[ConsentChanged]:
    """The facts that follow where another status holds than before. They do not say which statements were made: that is
    in the history."""
    return [
        ConsentChanged(
            purpose=purpose,
            channel=channel,
            status=status,
            source=proof.source,
            text_version=proof.text_version,
            by=proof.by,
        )
        for (purpose, channel), status in ((parts_of(key), status) for key, status in changed(before, after).items())
    ]


def fact_record(
    cause: Cause, loaded: LoadedCustomer, fact: Fact, place: str | None, effect: str | None = None
) -> bytes:
    """A fact of profile's as a record, the next of its customer (whose `facts` the caller counts up). `place` is the record's
    that it follows from; those of commands have none, and no stamp."""
    number = loaded.state.facts + 1
    return encode(
        id=str(derived(cause.id or f"{loaded.id}/{number}", fact.TYPE, fact.effect if effect is None else effect)),
        source=SOURCE,
        type=fact.TYPE,
        time=cause.at,
        recordedtime=cause.received,
        subject=str(loaded.id),
        traceparent=cause.traceparent,
        causationid=cause.id,
        depth=cause.depth + 1,
        stamp=None if place is None else f"{place}/{number}",
        imported=cause.imported,
        data=fact,
    )
