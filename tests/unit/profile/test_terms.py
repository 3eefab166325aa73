"""What customers are found by."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.profile.domain.state import Customer, Trait
from services.profile.domain.terms import NOTHING, TRAITS, Findable, changes, words_match

NAMES = ("name", "firstName", "email", "plan", "seats")
VALUES = st.sampled_from(["Ann", "Ann Lee", "a@b.c", "", 3, 3.0, 2.5, True, None, [1], {"x": 1}, "x" * 101, "a\0b"])


def _with(traits: dict[str, Any]) -> Findable:
    return Findable.of(
        Customer(traits={name: Trait(0, msgspec.Raw(msgspec.json.encode(value))) for name, value in traits.items()})
    )


def _terms(traits: dict[str, Any]) -> set[str]:
    return changes(NOTHING, _with(traits)).new


def test_terms_of_traits() -> None:
    traits = {"plan": "Gold", "seats": 3.0, "beta": False, "email": "Ann@Example.org", "tags": ["a"], "gone": None}
    assert _terms(traits) == {
        "trait.plan=gold",
        "trait.seats=3",
        "trait.beta=false",
        "trait.email=ann@example.org",
        "text:ann@example.org",
        "text:@example.org",
    }
    assert _terms({"name": "Ann  Lee", "firstName": "ann"}) >= {"text:ann", "text:lee"}


def test_of_many_traits_the_first_by_name_are_found() -> None:
    found = _terms({f"t{number:04}": number for number in range(TRAITS + 50)})
    assert found == {f"trait.t{number:04}={number}" for number in range(TRAITS)}


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES), min_size=1, max_size=5))
def test_changes_add_up_to_the_terms_of_the_last_state(states: list[dict[str, Any]]) -> None:
    held: set[str] = set()
    before = NOTHING
    for traits in states:
        after = _with(traits)
        gone, new = changes(before, after)
        assert gone <= held
        assert not new & held
        held, before = held - gone | new, after
    assert held == _terms(states[-1])


def test_all_words_must_begin_something() -> None:
    traits = _with({"name": "Ann Lee"}).traits
    assert words_match(traits, ["user:u1"], ["le", "AN", "u"])
    assert not words_match(traits, ["user:u1"], ["ann", "bob"])
