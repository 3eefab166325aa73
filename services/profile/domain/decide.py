"""The decisions on an event: whose it is, and the facts of a merge.

A merge is two facts: `customer.left` on the key of the customer who leaves, then `customer.merged` on the survivor's
key. At the first, rewards, triggers and metrics complete the state of the one who leaves; at the second they move it.
"""

from typing import NamedTuple
from uuid import UUID

from libs.common.contracts.ids import derived
from libs.common.contracts.profile import CustomerLeft, CustomerMerged
from libs.common.contracts.records import Fact, encode
from services.profile.domain.events import Event
from services.profile.domain.identity import LoadedCustomer

SOURCE = "/profile"


class Pair(NamedTuple):
    """One user with one device of an event: the arguments of `identity.match`."""

    user: str | None
    device: str | None


def pairs(event: Event) -> list[Pair]:
    """The pairs of an event, in order. An alias has up to two devices, most events one or none."""
    return [Pair(event.user, device) for device in event.devices] or [Pair(event.user, None)]


def left(event: Event, loaded: LoadedCustomer, into: UUID, place: str) -> bytes:
    """The fact that a customer's state is complete and moves `into` another's."""
    return _fact(event, loaded, CustomerLeft(into=str(into)), str(loaded.id), place)


def merged(event: Event, loaded: LoadedCustomer, other: UUID, place: str) -> bytes:
    """The fact that a customer has taken over the state of `other`."""
    return _fact(event, loaded, CustomerMerged(other=str(other)), str(other), place)


def _fact(event: Event, loaded: LoadedCustomer, fact: Fact, effect: str, place: str) -> bytes:
    return encode(
        id=str(derived(str(event.id), fact.TYPE, effect)),
        source=SOURCE,
        type=fact.TYPE,
        time=event.at,
        recordedtime=event.received,
        subject=str(loaded.id),
        traceparent=event.traceparent,
        causationid=str(event.id),
        depth=1,
        stamp=f"{place}/{loaded.state.facts + 1}",
        imported=event.imported,
        data=fact,
    )
