"""Cells become values, or say what is wrong with them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from deploy.importer.cells import Refused, boolean, identifier, integer, json, number, time

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "sign", "value"),
    [
        ("29.33", ".", Decimal("29.33")),
        ("1,250.00", ".", Decimal("1250.00")),
        ("1.250,00", ",", Decimal("1250.00")),
        ("29,33", ",", Decimal("29.33")),
        ("1 250,5", ",", Decimal("1250.5")),
        (" -7 ", ".", Decimal(-7)),
        (29.33, ".", 29.33),
        (7, ",", 7),
    ],
)
def test_numbers_as_people_write_them(cell: Any, sign: str, value: object) -> None:
    assert number(cell, sign) == value


@pytest.mark.parametrize(
    ("cell", "sign", "says"),
    [("29,33", ".", "decimal comma"), ("1.5", ",", "decimal comma"), ("n/a", ".", "no number"), (True, ".", "no number"),
     ("NaN", ".", "no number"), ("1e999999", ".", "no number")],
)  # fmt: skip
def test_what_is_no_number_is_refused(cell: Any, sign: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        number(cell, sign)


@pytest.mark.parametrize(
    ("cell", "form", "zone", "value"),
    [
        ("2026-01-31T12:00:00Z", None, "UTC", "2026-01-31T12:00:00Z"),
        ("2026-01-31 12:00", None, "Europe/Berlin", "2026-01-31T11:00:00Z"),
        ("2026-01-31T12:00:00+05:00", None, "Europe/Berlin", "2026-01-31T07:00:00Z"),
        ("31.01.2026 12:00", "%d.%m.%Y %H:%M", "Europe/Berlin", "2026-01-31T11:00:00Z"),
        ("1769860800", None, "UTC", "2026-01-31T12:00:00Z"),
        (1769860800000, None, "UTC", "2026-01-31T12:00:00Z"),
    ],
)
def test_times(cell: Any, form: str | None, zone: str, value: str) -> None:
    assert time(cell, form, ZoneInfo(zone), NOW) == value


@pytest.mark.parametrize(
    ("cell", "says"),
    [("31.01.2026", "ISO 8601"), ("1969-01-01", "before 1971"), ("2026-06-02", "future"), (True, "no ISO 8601 time"),
     ("9999-12-31T23:59:59-12:00", "no ISO 8601 time")],
)  # fmt: skip
def test_what_cannot_be_a_time_of_the_past_is_refused(cell: Any, says: str) -> None:
    with pytest.raises(Refused, match=says):
        time(cell, None, None, NOW)


def test_other_types() -> None:
    assert [boolean(cell) for cell in ("yes", "TRUE", "1", "no", "0", False)] == [True, True, True, False, False, False]
    assert integer(" 12 ") == 12
    assert json('[{"sku": "a"}]') == [{"sku": "a"}]
    assert [identifier(cell) for cell in (" ann ", 12)] == ["ann", "12"]
    for read, cell in ((boolean, "maybe"), (integer, "1.5"), (json, "[1,"), (identifier, ["ann"])):
        with pytest.raises(Refused):
            read(cell)
