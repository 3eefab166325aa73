"""A userId with many devices is found, once an hour, within bounds."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.ingest.shared_ids import MANY, USERS, WITHIN, Crowds

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SOURCE = UUID(int=1)


def found(crowds: Crowds, user: str, devices: int, at: datetime = NOW) -> list[int]:
    return [number for number in range(devices) if crowds.is_new(SOURCE, user, f"a{number}", at)]


def test_a_crowd_is_found_once_an_hour() -> None:
    crowds = Crowds()
    assert found(crowds, "till", MANY + 30) == [MANY - 1]
    assert found(crowds, "till", MANY + 30, NOW + WITHIN) == []
    assert found(crowds, "till", MANY + 30, NOW + WITHIN + timedelta(seconds=1)) == [MANY - 1]


def test_one_person_with_some_devices_is_no_crowd() -> None:
    crowds = Crowds()
    assert found(crowds, "ann", MANY - 1) == []
    assert found(crowds, "ann", MANY - 1) == []
    assert crowds.is_new(UUID(int=2), "ann", "another", NOW) is False  # another source's ann is another one


def test_those_not_seen_for_longest_are_forgotten() -> None:
    crowds = Crowds()
    found(crowds, "till", MANY - 1)
    for number in range(USERS):
        crowds.is_new(SOURCE, f"u{number}", "a", NOW)
    assert crowds.is_new(SOURCE, "till", "last", NOW) is False
