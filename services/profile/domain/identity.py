"""Whose an event is. Pure rules over the loaded customers.

- Unknown ids create a customer.
- A new userId *claims* the anonymous customer that it comes with.
- Two existing customers, one of them anonymous: the anonymous one is *merged* into the other.
- An anonymousId whose customer has another userId: no merge. The event goes to its userId, and the device follows.
- Two identified customers are merged by a command only (`merges`). An alias's previousId counts as an anonymousId.
- Above a profile's limits nothing is bound or merged; the event still goes to its customer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from libs.common.contracts.ids import derived
from libs.common.contracts.records import Binding
from libs.common.fold.sections import Sections
from services.profile.domain.journey import AsOf
from services.profile.domain.snapshot import Shown, shown, snapshot
from services.profile.domain.state import DECODERS, IDENTIFIERS, MERGES, Customer
from services.profile.domain.terms import NOTHING, Findable


class Move(NamedTuple):
    """A customer entered a segment, or left it (`entered` false), at a time in microseconds."""

    segment: str
    entered: bool
    at: int


@dataclass(slots=True)
class LoadedCustomer:
    """A loaded and locked customer. `version` is 0 before they are stored. `moves` are segments entered and left.
    `found_by` is what searches find them by as stored; None until something of it is about to change (`note`)."""

    id: UUID
    state: Customer
    version: int = 0
    merged_into: UUID | None = None
    touched: bool = False
    shown: Shown | None = None
    moves: list[Move] = field(default_factory=list)
    found_by: Findable | None = None

    @classmethod
    def new(cls, id: UUID) -> "LoadedCustomer":
        """A customer who is not stored yet."""
        return cls.stored(id, Customer(), 0, None)

    @classmethod
    def stored(cls, id: UUID, state: Customer, version: int, merged_into: UUID | None) -> "LoadedCustomer":
        """A stored customer, without their orders, which are loaded on demand."""
        state.hold(Sections(id, DECODERS, whole=version == 0))
        return cls(id, state, version, merged_into, found_by=None if version else NOTHING)

    def note(self) -> None:
        """Note what they are found by, before something of it changes."""
        if self.found_by is None:
            self.found_by = Findable.of(self.state)

    def snapshot(self, as_of: AsOf, bound: Sequence[Binding] = ()) -> bytes:
        """The customer's snapshot. The selection of traits is cached until `shown` is reset."""
        if self.shown is None:
            self.shown = shown(self.state.traits)
        return snapshot(self.id, self.state, self.shown, as_of, bound)


@dataclass(slots=True)
class WorkingSet:
    """The customers of a batch, and the customer of each reference in it.

    `guessed` are new references whose rows are inserted already (version 1), bound to the customer who will probably
    have them. `rebound` are references that the batch has bound. `survivors` maps the subjects of facts to the
    customers they were merged into before the batch. `continued` are the last versions of references whose customer was
    erased: a new binding continues them, so that it is higher than what services may still hold.
    """

    by_id: dict[UUID, LoadedCustomer] = field(default_factory=dict)
    by_ref: dict[str, UUID] = field(default_factory=dict)
    guessed: dict[str, UUID] = field(default_factory=dict)
    rebound: set[str] = field(default_factory=set)
    survivors: dict[UUID, UUID] = field(default_factory=dict)
    continued: dict[str, int] = field(default_factory=dict)

    def holder(self, ref: str | None) -> LoadedCustomer | None:
        """The customer of a reference; None if it is new."""
        id = None if ref is None else self.by_ref.get(ref)
        return None if id is None else self.by_id[id]

    def meet(self, one: str | None, other: str | None) -> bool:
        """Whether two references have different customers: only then can there be a merge."""
        ours, theirs = self.holder(one), self.holder(other)
        return ours is not None and theirs is not None and ours is not theirs

    def lead(self, ref: str, loaded: LoadedCustomer, version: int) -> Binding:
        """Bind a reference to `loaded` from `version` on."""
        loaded.state.identifiers[ref] = version
        self.by_ref[ref] = loaded.id
        self.rebound.add(ref)
        kind, _, value = ref.partition(":")
        return Binding(kind, value, version)

    def binding(self, ref: str) -> tuple[UUID, int]:
        """The customer of a bound reference, and the version of the binding."""
        loaded = self.by_id[self.by_ref[ref]]
        return loaded.id, loaded.state.identifiers[ref]

    def as_guessed(self, ref: str) -> bool:
        """Whether a reference's row is correct as it was inserted."""
        return self.binding(ref) == (self.guessed.get(ref), 1)


class Match(NamedTuple):
    """Whose an event is, and how identities change.

    `binds` are references to bind to `customer`, `absorbs` a customer to merge into them. `refused` names the limit
    that prevented a change.
    """

    customer: UUID
    creates: bool = False
    claims: bool = False
    binds: tuple[str, ...] = ()
    absorbs: UUID | None = None
    refused: str = ""


def new_customer_id(record: UUID, ref: str | None) -> UUID:
    """The id of the customer whom a record creates for a reference (its user, else its device). A replay gives the
    same id. The same record in another partition, with another anonymousId, gives another id."""
    return derived("customer", str(record), ref or "")


def match(working_set: WorkingSet, user: str | None, device: str | None, record: UUID) -> Match:
    """Apply the rules to one user and one device of a record, at least one of them given. Changes nothing."""
    of_user, of_device = working_set.holder(user), working_set.holder(device)
    if user is None:
        return (
            Match(of_device.id)
            if of_device
            else Match(new_customer_id(record, device), creates=True, binds=_given(device))
        )
    if of_user is None:
        return _of_new_user(working_set, user, device, of_device, record)
    if device is None or of_device is of_user:
        return Match(of_user.id)
    if of_device is None or of_device.state.user is not None:
        return Match(of_user.id, binds=(device,)) if _room(of_user, 1) else Match(of_user.id, refused="identifiers")
    if limit := limit_reached(of_user, of_device):
        return Match(of_user.id, refused=limit)
    return Match(of_user.id, absorbs=of_device.id)


def limit_reached(survivor: LoadedCustomer, other: LoadedCustomer) -> str:
    """The limit that forbids to merge `other` into `survivor`; empty if none does."""
    if not _room(survivor, len(other.state.identifiers)):
        return "identifiers"
    return "merges" if len(survivor.state.merged) + len(other.state.merged) + 1 > MERGES else ""


def _of_new_user(
    working_set: WorkingSet, user: str, device: str | None, of_device: LoadedCustomer | None, record: UUID
) -> Match:
    if of_device is None or of_device.state.user is not None:
        return Match(new_customer_id(record, user), creates=True, binds=(user, *_given(device)))
    if _room(of_device, 1):
        return Match(of_device.id, claims=True, binds=(user,))
    return Match(new_customer_id(record, user), creates=True, binds=(user,), refused="identifiers")


def _room(loaded: LoadedCustomer, more: int) -> bool:
    return len(loaded.state.identifiers) + more <= IDENTIFIERS


def _given(ref: str | None) -> tuple[str, ...]:
    return () if ref is None else (ref,)
