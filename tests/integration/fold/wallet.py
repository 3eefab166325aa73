"""A toy with sections: orders and lots of points, of which a customer may have many. The state only keeps the sum."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.records import Envelope, Fact
from libs.common.errors import Conflict
from libs.common.fold.decider import Decision
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.sections import One, Section, Sectioned, SectionKinds, Wanted
from libs.common.replay.replayable import CUSTOMERS, IDENTIFIERS, SECTIONS, Replayable
from tests.integration.fold.toy import Toy


class Credited(Fact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "toy.credited.v1"
    order: str
    points: int


class Reversed(Fact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "toy.reversed.v1"
    order: str
    points: int


class Spent(Fact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "toy.spent.v1"
    points: int


FACTS: Mapping[str, type[Fact]] = {fact.TYPE: fact for fact in (Credited, Reversed, Spent)}


class Order(msgspec.Struct, frozen=True):
    points: int
    refunded: bool = False


class Lot(msgspec.Struct, frozen=True):
    remaining: int
    at: int


class Wallet(Sectioned, omit_defaults=True):
    balance: int = 0


class Buy(msgspec.Struct):
    """An order. The lots that are spent first are those of the lowest `at`."""

    order: str
    points: int
    at: int


class Refund(msgspec.Struct):
    order: str


class Spend(msgspec.Struct):
    points: int


class Careless(msgspec.Struct):
    """`evolve` looks for what nobody has loaded."""


class _Said(msgspec.Struct):
    event: str
    order: str = ""
    points: int = 0
    at: int = 0


def named(body: Any, rules: int) -> Iterator[Wanted]:
    """A refund's lot is not named: `decide` finds that it needs it."""
    match body:
        case Buy(order):
            yield from (One("order", order), One("lot", order))
        case Refund(order):
            yield One("order", order)


class Wallets(Toy):
    state = Wallet  # type: ignore[assignment]
    sections = SectionKinds({"order": Order, "lot": Lot}, named)

    def read(self, envelope: Envelope, rules: int) -> Any:
        said = msgspec.json.decode(envelope.data, type=_Said) if envelope.type == "track.v1" else _Said("")
        match said.event:
            case "Bought":
                return Buy(said.order, said.points, said.at)
            case "Refunded":
                return Refund(said.order)
            case "Careless":
                return Careless()

    def decide(self, state: Any, input: Input, rules: int) -> Decision:
        match input.body:
            case Buy(order, points) if state.sections.get("order", order) is None:
                return Decision(facts=[Credited(order=order, points=points)])
            case Refund(id):
                order = state.sections.get("order", id)
                if order is not None and not order.refunded:
                    return Decision(facts=[Reversed(order=id, points=state.sections.get("lot", id).remaining)])
            case Spend(points):
                if sum(taken for _, _, taken in _taken(state, points)) < points:
                    raise Conflict("not so many")
                return Decision(facts=[Spent(points=points)])
        return Decision()

    def evolve(self, state: Any, input: Input, decision: Decision) -> None:
        if isinstance(input.body, Careless):
            state.sections.get("order", "any")
        for fact in decision.facts:
            match fact:
                case Credited(order=order, points=points):
                    state.sections.set("order", order, Order(points))
                    _put(state, order, Lot(points, input.body.at))
                    state.balance += points
                case Reversed(order=order, points=points):
                    state.sections.set("order", order, Order(state.sections.get("order", order).points, True))
                    state.sections.delete("lot", order)
                    state.balance -= points
                case Spent(points=points):
                    for order, lot, taken in list(_taken(state, points)):
                        _put(state, order, Lot(lot.remaining - taken, lot.at))
                    state.balance -= points

    def absorb(self, survivor: Any, other: Any) -> None:
        """An order of both counts once: the survivor's."""
        twice = survivor.sections.every("order").keys() & other.sections.every("order").keys()
        for order in sorted(twice):
            lot = other.sections.get("lot", order)
            survivor.balance -= 0 if lot is None else lot.remaining
            other.sections.delete("lot", order)
        survivor.balance += other.balance
        survivor.sections.absorb(other.sections, lambda kind, ours, theirs: Section(ours))


def _put(state: Wallet, order: str, lot: Lot) -> None:
    state.sections.set("lot", order, lot, lot.at if lot.remaining else None)


def _taken(state: Wallet, points: int) -> Iterator[tuple[str, Lot, int]]:
    """From which lots so many points are taken, the oldest first."""
    for order, lot in state.sections.open("lot"):
        if not points:
            return
        taken = min(points, lot.remaining)
        points -= taken
        yield order, lot, taken


def replayable() -> Replayable[Any, int]:
    handler: DeciderHandler[Any, int] = DeciderHandler("toy", Wallets())
    compared = (CUSTOMERS, IDENTIFIERS, SECTIONS)
    return Replayable("toy", handler, tuple(each.table for each in compared), compared)
