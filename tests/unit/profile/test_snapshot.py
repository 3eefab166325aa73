"""What a journal record carries of its customer, and how large it can become."""

from typing import Any
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.records import BOUND_END, Binding, Journalled, Snapshot, decode, spliced
from libs.common.contracts.records import LARGEST as LARGEST_RECORD
from services.profile.domain import snapshot as shown_to
from services.profile.domain.journey import AsOf, Journey
from services.profile.domain.snapshot import LARGEST, MORE, NAMED
from services.profile.domain.state import TRAITS, Customer
from tests.unit.profile.world import World, said

AS_OF = AsOf(0, Journey())


def snapshot(world: World) -> Snapshot:
    data = msgspec.json.encode(world.journal[-1][1]["data"])
    return msgspec.json.decode(data, type=Journalled).customer


def test_it_is_the_snapshot_that_others_read() -> None:
    order: dict[str, Any] = {
        "event": "Order Completed",
        "properties": {"order_id": 1, "revenue": 29.33, "currency": "EUR"},
    }
    world = World().tell_all(
        [said("m1", "identify", userId="u", traits={"a": [1.50, "é"]}), said("m2", userId="u", **order)]
    )
    shown = snapshot(world)
    assert (shown.traits, shown.orders, shown.revenue) == ({"a": [1.5, "é"]}, 1, {"EUR": 29.33})
    assert shown.first_seen == shown.last_seen == decode(said("m1", userId="u")).time
    assert shown.bound == []


def test_what_a_record_binds_is_its_end() -> None:
    """Readers look for bindings only in records that end so."""
    binds, repeats = (
        spliced(said("m", userId="u"), shown_to.snapshot(UUID(int=1), Customer(), shown_to.Shown({}, []), AS_OF, bound))
        for bound in ([Binding("user", "u", 1)], [])
    )
    assert binds.endswith(BOUND_END)
    assert not repeats.endswith(BOUND_END)


def test_a_trait_of_null_is_shown_no_longer() -> None:
    told = [
        said("m1", "identify", userId="u", traits={"a": 1}),
        said("m2", "identify", 1, userId="u", traits={"a": None}),
    ]
    assert snapshot(World().tell_all(told)).traits == {}
    assert snapshot(World().tell_all(reversed(told))).traits == {}


def test_the_largest_traits_are_cut_and_named() -> None:
    traits = {"small": 1, "large": "x" * 5000, "larger": "x" * 6000}
    shown = snapshot(World().tell_all([said("m", "identify", userId="u", traits=traits)]))
    assert set(shown.traits) == {"small", "large"}
    assert shown.traits_cut == ["larger"]


def test_traits_over_64_kb_are_refused_the_largest_first() -> None:
    world = World()
    for number in range(4):
        world.tell(said(f"m{number}", "identify", number, userId="u", traits={f"t{number}": "x" * (20_000 + number)}))
    assert set(world.of("user:u").traits) == {"t0", "t1", "t2"}


@given(st.integers(1, 12_000), st.integers(1, 30))
def test_no_traits_make_a_snapshot_large(count: int, length: int) -> None:
    traits = {f"{number:0{length}}": number for number in range(min(count, 30_000 // (length + 8)))}
    world = World().tell_all([said("m", "identify", userId="u", traits=traits)])
    record = world.journal[-1][1]
    shown = snapshot(world)
    assert len(msgspec.json.encode(shown.traits)) <= LARGEST + 2
    assert len(msgspec.json.encode(shown)) <= LARGEST + 10_000
    assert len(shown.traits_cut) <= NAMED + 1
    assert (MORE in shown.traits_cut) == (len(traits) - len(shown.traits) > NAMED)
    assert len(msgspec.json.encode(record)) < LARGEST_RECORD
    assert sum(len(name) + len(trait.text) for name, trait in world.of("user:u").traits.items()) <= TRAITS
