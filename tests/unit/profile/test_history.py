"""Any history, in any order and cut into any batches, gives the same customers as a small model of its own.

The exception is an anonymousId used by two userIds, which the histories here leave out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profile.domain.state import Customer
from tests.unit.profile.world import World, said

USERS = ("u0", "u1", "u2")
DEVICES = ("a0", "a1", "a2", "a3")


@dataclass(frozen=True)
class Event:
    """One thing said: by a device, a user, or a user on a device of theirs."""

    message: int
    kind: str
    minute: int
    user: str | None
    device: str | None
    previous: str | None
    body: tuple[tuple[str, Any], ...]

    @property
    def refs(self) -> set[str]:
        devices = {f"anon:{id}" for id in (self.device, self.previous) if id}
        return devices | ({f"user:{self.user}"} if self.user else set())

    @property
    def value(self) -> bytes:
        ids = {"userId": self.user, "anonymousId": self.device, "previousId": self.previous}
        return said(
            f"m{self.message}", self.kind, self.minute, **{k: v for k, v in ids.items() if v}, **dict(self.body)
        )


PURCHASES = {"order": "Order Completed", "refund": "Order Refunded", "cancel": "Order Cancelled"}


@st.composite
def _event(draw: st.DrawFn, owners: dict[str, str | None], message: int) -> Event:
    device = draw(st.none() | st.sampled_from(DEVICES))
    owner = owners[device] if device else draw(st.sampled_from(USERS))
    user = owner if device is None or draw(st.booleans()) else None
    kinds = ["track", "identify", "page", "order", "refund", "cancel"]
    mine = [id for id, of in owners.items() if of == user and id != device]
    kind = draw(st.sampled_from([*kinds, "alias"] if user and mine else kinds))
    minute = draw(st.integers(0, 5))
    previous: str | None = None
    body: dict[str, Any] = {}
    if kind == "alias":
        previous = draw(st.sampled_from(mine))
    elif kind == "identify":
        body["traits"] = draw(st.dictionaries(st.sampled_from("xyz"), st.sampled_from([1, "b", None, [2]])))
    elif kind in PURCHASES:
        properties: dict[str, Any] = {"order_id": draw(st.sampled_from(["o0", "o1", 7]))}
        cents = draw(st.none() | st.integers(0, 900))
        if cents is not None:
            properties |= {"revenue": cents / 100, "currency": draw(st.sampled_from(["EUR", "USD"]))}
        body |= {"event": PURCHASES[kind], "properties": properties}
        kind = "track"
    return Event(message, kind, minute, user, device, previous, tuple(body.items()))


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    owners = {device: draw(st.none() | st.sampled_from(USERS)) for device in DEVICES}
    return [draw(_event(owners, message)) for message in range(draw(st.integers(1, 14)))]


def expected(history: Sequence[Event]) -> set[str]:
    """The model: the connected groups of identifiers, and what was said of each, sorted."""
    groups: list[tuple[set[str], list[Event]]] = []
    for event in history:
        refs, events = set(event.refs), [event]
        for group in [group for group in groups if group[0] & refs]:
            groups.remove(group)
            refs, events = refs | group[0], events + group[1]
        groups.append((refs, events))
    return {_described(refs, events) for refs, events in groups}


def _described(refs: set[str], events: list[Event]) -> str:
    traits: dict[str, tuple[int, str]] = {}
    orders: dict[str, tuple[int, str, bool, int]] = {}
    refunds: dict[str, list[tuple[str, int] | None]] = {}
    cancelled: set[str] = set()
    for event in events:
        body = dict(event.body)
        for name, value in body.get("traits", {}).items():
            traits[name] = max(traits.get(name, (-1, "")), (event.minute, json.dumps(value, separators=(",", ":"))))
        if "properties" not in body:
            continue
        order, revenue = str(body["properties"]["order_id"]), body["properties"].get("revenue")
        currency = body["properties"].get("currency", "")
        cents = None if revenue is None else round(revenue * 100)
        if body["event"] == "Order Completed":
            said_now = (event.minute, currency, cents is None, cents or 0)
            orders[order] = min(orders.get(order, said_now), said_now)
        elif body["event"] == "Order Cancelled":
            cancelled.add(order)
        else:
            refunds.setdefault(order, []).append(None if cents is None else (currency, cents))
    total: dict[str, int] = {}
    orders = {order: said for order, said in orders.items() if order not in cancelled}
    for order, (_, currency, unknown, paid) in orders.items():
        if not unknown:
            back = [
                paid if refund is None else refund[1]
                for refund in refunds.get(order, [])
                if refund is None or refund[0] == currency
            ]
            total[currency] = total.get(currency, 0) + paid - min(paid, sum(back))
    kept = {name: text for name, (_, text) in traits.items()}
    minutes = [event.minute for event in events]
    return repr((sorted(refs), sorted(kept.items()), len(orders), sorted(total.items()), max(minutes) - min(minutes)))


def found(world: World) -> set[str]:
    """The customers in the model's terms."""
    return {_shown(loaded.state) for loaded in world.living}


def _shown(state: Customer) -> str:
    assert state.first is not None
    assert state.last is not None
    traits = {name: trait.text.decode() for name, trait in state.traits.items()}
    span = (state.last - state.first) // 60_000_000
    return repr(
        (sorted(state.identifiers), sorted(traits.items()), state.completed, sorted(state.revenue.items()), span)
    )


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_with_duplicates_gives_the_customers_of_the_model(history: list[Event], random: Any) -> None:
    told = [*history, *random.choices(history, k=3)]
    random.shuffle(told)
    assert found(World().tell_all(event.value for event in told)) == expected(history)


@given(histories(), st.integers(1, 5))
def test_batches_make_no_difference(history: list[Event], size: int) -> None:
    world = World()
    for start in range(0, len(history), size):
        world.tell(*(event.value for event in history[start : start + size]))
    one_by_one = World().tell_all(event.value for event in history)
    assert world.journal == one_by_one.journal
    assert found(world) == expected(history)


@given(histories())
def test_the_journal_alone_tells_who_is_who(history: list[Event]) -> None:
    """What another service makes of it: the highest version of each binding, and states moved by left and merged."""
    world = World().tell_all(event.value for event in history)
    bound: dict[str, tuple[int, str]] = {}
    left: dict[str, str] = {}
    for key, record in world.journal:
        assert record["data"]["customer"]["id"] == key
        assert key not in left, "nothing comes on the key of a customer who has left"
        for binding in record["data"]["customer"].get("bound", []):
            ref = f"{binding['kind']}:{binding['value']}"
            assert binding["version"] != bound.get(ref, (0, ""))[0]
            bound[ref] = max(bound.get(ref, (0, "")), (binding["version"], key))
        if record["type"] == "customer.left.v1":
            left[key] = record["data"]["into"]
        if record["type"] == "customer.merged.v1":
            assert left[record["data"]["other"]] == key
    assert {ref: key for ref, (_, key) in bound.items()} == {
        ref: str(id) for ref, id in world.working_set.by_ref.items()
    }
    assert sorted(left) == sorted(id for loaded in world.living for id in loaded.state.merged)


@given(histories())
def test_the_last_snapshot_is_the_customer(history: list[Event]) -> None:
    world = World().tell_all(event.value for event in history)
    last = {key: record["data"]["customer"] for key, record in world.journal}
    for loaded in world.living:
        shown = last[str(loaded.id)]
        assert shown.get("orders", 0) == loaded.state.completed
        revenue = {currency: round(Decimal(str(amount)) * 100) for currency, amount in shown.get("revenue", {}).items()}
        assert revenue == loaded.state.revenue


@given(histories())
def test_counts_are_those_of_the_customers(history: list[Event]) -> None:
    world = World().tell_all(event.value for event in history)
    living = world.living
    assert world.counts["customers"] == len(living)
    assert world.counts["identified"] == sum(loaded.state.user is not None for loaded in living)
    assert world.counts["merges"] == sum(loaded.merged_into is not None for loaded in world.working_set.by_id.values())


@pytest.mark.parametrize("reverse", [False, True])
def test_an_order_known_to_both_of_two_merged_customers_counts_once(reverse: bool) -> None:
    order: dict[str, Any] = {"event": "Order Completed", "properties": {"order_id": "o1", "revenue": 10}}
    told = [said("m1", anonymousId="a", **order), said("m2", minute=1, userId="u", **order)]
    world = World().tell_all(
        [*(reversed(told) if reverse else told), said("m3", "identify", userId="u", anonymousId="a")]
    )
    assert (world.of("user:u").completed, world.of("user:u").revenue) == (1, {"USD": 1000})
