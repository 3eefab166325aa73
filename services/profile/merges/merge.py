"""A merge of two loaded customers: what it changes, journals and lists. Pure.

A merge is two facts: `customer.left` on the key of the customer who leaves, then `customer.merged` on the survivor's key.
At the first, rewards, triggers and metrics complete the state of the one who leaves; at the second they move it.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from msgspec import json

from libs.common.contracts.ids import derived, parsed
from libs.common.contracts.profile import CustomerLeft, CustomerMerged
from libs.common.fold.sections import Every, One, Sections, Wanted
from libs.common.log.append import Outgoing
from services.profile.domain import evolve
from services.profile.domain.consent import Choice, Proof
from services.profile.domain.decide import Cause, consent_changes
from services.profile.domain.identity import LoadedCustomer, WorkingSet
from services.profile.domain.journey import Journey
from services.profile.domain.state import ORDER
from services.profile.journal import journalled


class MergeCause(NamedTuple):
    """What asked for a merge: an event at a `place` of its topic, or a command of somebody (`by`), for a reason.

    `name` is the marketers' name for the event, or the command's.
    """

    follows: Cause
    name: str
    source: str
    place: str | None = None
    by: str | None = None
    reason: str | None = None


class MergeRow(NamedTuple):
    """A row of the list of merges. `customer` is the survivor, `id` that of the fact `customer.merged`."""

    customer: UUID
    at: datetime
    id: UUID
    other: UUID
    recorded_at: datetime
    record: UUID
    name: str
    source: str
    by: str | None
    reason: str | None
    identifiers: str  # as JSON


class Merge(NamedTuple):
    """A merge that was applied: what it adds to the journal, and its row."""

    outgoing: list[Outgoing]
    row: MergeRow


def needed(survivor: LoadedCustomer, other: LoadedCustomer) -> Iterator[tuple[Sections, Wanted]]:
    """The sections that are not loaded yet: first all orders of the customer who leaves, then (asked again) the survivor's
    orders with the same ids."""
    theirs, ours = other.state.sections, survivor.state.sections
    if not theirs.has(Every(ORDER)):
        yield theirs, Every(ORDER)
        return
    yield from ((ours, each) for id in theirs.every(ORDER) if not ours.has(each := One(ORDER, id)))


def merge(
    working_set: WorkingSet, survivor: LoadedCustomer, other: LoadedCustomer, cause: MergeCause, journey: Journey
) -> Merge:
    """Merge `other` into `survivor`, whose `needed` sections are loaded.

    Each fact has its customer's snapshot at that moment, before anything later on either key. After them come the consents
    that the survivor has from the other.
    """
    record, identifiers = parsed(cause.follows.id or ""), sorted(other.state.identifiers)
    leaves = CustomerLeft(into=str(survivor.id))
    left = journalled(other, leaves, cause.follows, cause.place, journey, str(other.id), name=cause.name)
    before = survivor.state.consent
    bound = evolve.merge(working_set, survivor, other)
    fact = CustomerMerged(other=str(other.id))
    merged = journalled(survivor, fact, cause.follows, cause.place, journey, name=cause.name, bound=bound)
    outgoing = [left, merged, *_consents(survivor, before, str(other.id), cause, journey)]
    row = MergeRow(
        survivor.id,
        cause.follows.at,
        derived(str(record), fact.TYPE, fact.effect),
        other.id,
        cause.follows.received,
        record,
        cause.name,
        cause.source,
        cause.by,
        cause.reason,
        json.encode(identifiers).decode(),
    )
    return Merge(outgoing, row)


def _consents(
    survivor: LoadedCustomer, before: Mapping[str, Choice], other: str, cause: MergeCause, journey: Journey
) -> Iterator[Outgoing]:
    """The consents that the survivor has since the merge. Their ids differ from those of what the event itself says."""
    if survivor.state.consent is not before:
        for fact in consent_changes(before, survivor.state.consent, Proof("merge")):
            yield journalled(survivor, fact, cause.follows, cause.place, journey, f"{other}/{fact.effect}")
