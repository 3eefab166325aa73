"""Cells of a row → values of an event. Each function raises Refused with what is wrong with the cell."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from services.ingest.domain import clock

Type = Literal["text", "number", "integer", "boolean", "time", "json"]

_TRUE, _FALSE = frozenset({"true", "yes", "t", "y", "1"}), frozenset({"false", "no", "f", "n", "0"})
_GROUPED = {".": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?"), ",": re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?")}
_PLAIN = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d{1,3})?")
_UNIX = re.compile(r"\d{10}(\d{3})?")


class Refused(ValueError):
    """A row that gives no event; the message says why."""


def zone_named(name: str) -> ZoneInfo:
    """The time zone of that name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{name!r} is no time zone: write one such as Europe/Berlin") from None


def identifier(cell: Any) -> str:
    """An id or a name: text without spaces around it."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        raise Refused(f"{_shown(cell)} is neither text nor a number")
    return str(cell).strip()


def text(cell: Any) -> str:
    """The cell as text."""
    return cell if isinstance(cell, str) else msgspec.json.encode(cell).decode()


def number(cell: Any, decimal: str = ".") -> Decimal | int | float:
    """A number, exactly as it is written; groups of thousands may be separated."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return cell
    written = str(cell).strip().replace("\u00a0", "").replace(" ", "")
    if _GROUPED[decimal].fullmatch(written):
        written = written.replace("," if decimal == "." else ".", "")
    if decimal == ",":
        if "." in written:
            raise Refused(f"{_shown(cell)} is no number with a decimal comma")
        written = written.replace(",", ".")
    if not _PLAIN.fullmatch(written):
        hint = ': for a decimal comma, give "decimal": ","' if decimal == "." and "," in written else ""
        raise Refused(f"{_shown(cell)} is no number{hint}")
    try:
        return Decimal(written)
    except InvalidOperation:
        raise Refused(f"{_shown(cell)} is no number") from None


def integer(cell: Any) -> int:
    """A whole number."""
    try:
        return int(str(cell).strip())
    except ValueError:
        raise Refused(f"{_shown(cell)} is no whole number") from None


def boolean(cell: Any) -> bool:
    """true, yes or 1; false, no or 0."""
    written = str(cell).strip().lower()
    if written in _TRUE or written in _FALSE:
        return written in _TRUE
    raise Refused(f"{_shown(cell)} is neither true nor false")


def json(cell: Any) -> Any:
    """A list or an object that is written as JSON."""
    if not isinstance(cell, str):
        return cell
    try:
        return msgspec.json.decode(cell)
    except ValueError as error:
        raise Refused(f"{_shown(cell)} is not JSON: {error}") from None


def time(cell: Any, format: str | None = None, zone: ZoneInfo | None = None, latest: datetime | None = None) -> str:
    """ISO 8601 in UTC, from a time in `format` (else ISO 8601, or Unix seconds or milliseconds) that is local in `zone`
    when it names no zone of its own. With `latest`, it is when an event of the past happened."""
    try:
        found = _parsed(cell, format, zone)
    except ValueError:
        expected = (
            f"time in the form {format!r}" if format else 'ISO 8601 time: give its "format" if it has another one'
        )
        raise Refused(f"{_shown(cell)} is no {expected}") from None
    if latest is not None and found < clock.EARLIEST:
        raise Refused(f"{_shown(cell)} lies before 1971")
    if latest is not None and found > latest:
        raise Refused(f"{_shown(cell)} lies in the future")
    return found.isoformat().replace("+00:00", "Z")


def _parsed(cell: Any, format: str | None, zone: ZoneInfo | None) -> datetime:
    if format is not None:
        found = datetime.strptime(str(cell).strip(), format)  # noqa: DTZ007  # the zone is set below
    elif isinstance(cell, str) and not _UNIX.fullmatch(cell.strip()):
        found = datetime.fromisoformat(cell.strip())
    else:
        return clock.parse(float(cell) if isinstance(cell, str) else cell)
    if found.tzinfo is None:
        found = found.replace(tzinfo=zone or UTC)
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _shown(cell: Any) -> str:
    written = repr(cell) if isinstance(cell, str) else text(cell)
    return written if len(written) <= 60 else f"{written[:60]}…"


READERS: Mapping[Type, Callable[[Any], Any]] = {
    "text": text,
    "integer": integer,
    "boolean": boolean,
    "json": json,
}
