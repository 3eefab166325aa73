"""Sections as far as they are loaded: what is asked for, what is known, what is to be written."""

import uuid
from collections.abc import Callable

import msgspec
import pytest

from libs.common.fold.sections import Changes, Every, NotLoaded, One, Open, Section, Sectioned, SectionRow, Sections

ANN, BOB = uuid.UUID(int=1), uuid.UUID(int=2)
DECODERS = {"n": msgspec.json.Decoder(int)}


def row(key: str, value: int, rank: int | None = None) -> SectionRow:
    return SectionRow("n", key, msgspec.json.encode(value), rank)


def held(**values: int) -> Sections:
    """All sections of a customer, loaded."""
    sections = Sections(ANN, DECODERS)
    sections.loaded(Every(), [row(key, value) for key, value in values.items()], 9)
    return sections


def asked(sections: Sections, kind: str = "n") -> Open:
    """What is to be loaded for going on."""
    with pytest.raises(NotLoaded) as missing:
        list(sections.open(kind))
    assert missing.value.customer == ANN
    assert isinstance(missing.value.wanted, Open)
    return missing.value.wanted


def test_what_was_not_loaded_is_asked_for_and_what_is_absent_is_known() -> None:
    sections = Sections(ANN, DECODERS)
    looks: list[Callable[[], object]] = [
        lambda: sections.get("n", "a"),
        lambda: sections.set("n", "a", 1),
        lambda: sections.delete("n", "a"),
    ]
    for look in looks:
        with pytest.raises(NotLoaded) as missing:
            look()
        assert missing.value.wanted == One("n", "a")
    sections.loaded(One("n", "a"), [row("a", 7)], 9)
    sections.loaded(One("n", "b"), [], 9)
    assert (sections.get("n", "a"), sections.get("n", "b")) == (7, None)
    with pytest.raises(NotLoaded):
        sections.every("n")
    assert Sections(BOB, DECODERS, whole=True).every("n") == {}


def test_open_ones_come_in_order_page_by_page_and_with_what_was_changed() -> None:
    sections = Sections(ANN, DECODERS)
    assert asked(sections) == Open("n")
    sections.loaded(Open("n"), [row("b", 2, 1), row("a", 1, 2)], 2)
    pages = sections.open("n")
    assert [next(pages), next(pages)] == [("b", 2), ("a", 1)]
    assert asked(sections) == Open("n", (2, "a"))
    sections.loaded(One("n", "z"), [row("z", 9, 9)], 2)  # beyond what is loaded: others may come before it
    sections.set("n", "a", 1)  # closed
    sections.loaded(One("n", "new"), [], 2)
    sections.set("n", "new", 5, 0)
    assert asked(sections) == Open("n", (2, "a"))
    sections.loaded(Open("n", (2, "a")), [row("z", 9, 9)], 2)
    assert list(sections.open("n")) == [("new", 5), ("b", 2), ("z", 9)]


def test_only_what_is_not_as_it_is_stored_is_written() -> None:
    sections = held(a=1, b=2, c=3)
    sections.set("n", "a", 1)
    sections.set("n", "b", 2, 8)
    sections.delete("n", "c")
    sections.set("n", "d", 4)
    sections.delete("n", "d")
    assert sections.changes(msgspec.json.encode) == Changes([row("b", 2, 8)], [("n", "c")], False)
    assert sections.every("n") == {"a": 1, "b": 2}


def test_a_merge_takes_all_over() -> None:
    survivor, other = held(a=1, b=2), held(b=20, c=30)
    survivor.absorb(other, lambda kind, ours, theirs: Section(ours + theirs))
    other.empty()
    assert survivor.changes(msgspec.json.encode) == Changes([row("b", 22), row("c", 30)], [], False)
    assert other.changes(msgspec.json.encode) == Changes([], [], True)
    assert other.every("n") == {}


def test_they_are_no_part_of_the_states_json() -> None:
    class State(Sectioned, omit_defaults=True):
        n: int = 0

    state = State(3)
    state.sections.set("n", "a", 1)
    assert msgspec.json.encode(state) == b'{"n":3}'
    state.hold(held(b=2))
    assert state.sections.every("n") == {"b": 2}
    assert State().sections.every("n") == {}
