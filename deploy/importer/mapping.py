"""A mapping: which column of a row is which member of an event, and how its cell is read.

    {"type": "track", "event": {"value": "Order Completed"}, "userId": "customer_no", "timestamp": "ordered_at",
     "messageId": "order_no",
     "properties": {"order_id": "order_no", "revenue": {"column": "total", "type": "number", "decimal": ","}}}

A string names a column; `{"column", "type"}` says how its cell is read; `{"value"}` is the same in every event. An empty
cell gives no member.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Discriminator, Tag, field_validator

from deploy.importer.cells import READERS, Refused, Type, identifier, number, time, zone_named
from deploy.local.errors import LocalError
from libs.common.contracts.events import Kind

Row = Mapping[str, Any]
Reader = Callable[[Any], Any]

#: For those who have no mapping yet.
EXAMPLE = (
    '{"type": "track", "event": {"value": "Order Completed"}, "userId": "customer", "timestamp": "ordered_at",'
    ' "properties": {"order_id": "order", "revenue": {"column": "total", "type": "number"}}}'
)
IDS = ("userId", "anonymousId", "groupId", "previousId", "messageId")
_HOLDERS = ("properties", "traits", "context")
_NEEDED: dict[str, tuple[str, ...]] = {
    "track": ("event", "timestamp"),
    "identify": (),
    "page": ("timestamp",),
    "screen": ("timestamp",),
    "group": ("groupId",),
    "alias": ("previousId", "userId"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Column(_Strict):
    """A column, and how its cell is read. `format` (strptime's) and `zone` belong to a time, `decimal` to a number."""

    column: str
    type: Type | None = None
    format: str | None = None
    zone: str = "UTC"
    decimal: str = "."

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        zone_named(name)
        return name

    @field_validator("decimal")
    @classmethod
    def _known_sign(cls, sign: str) -> str:
        if sign not in (".", ","):
            raise ValueError("the decimal sign is . or ,")
        return sign


class Fixed(_Strict):
    """The same value in every event."""

    value: Any


# how a member is written; in the places of errors these are no names of the user's
TAGS = _NAME, _COLUMN, _VALUE = "a name", "a column", "a value"


def _written_as(member: object) -> str:
    match member:
        case str():
            return _NAME
        case {"value": _}:
            return _VALUE
    return _COLUMN


Member = Annotated[
    Annotated[str, Tag(_NAME)] | Annotated[Column, Tag(_COLUMN)] | Annotated[Fixed, Tag(_VALUE)],
    Discriminator(_written_as),
]


class Document(_Strict):
    """A mapping as it is written."""

    type: Kind = "track"
    event: Member | None = None
    name: Member | None = None
    category: Member | None = None
    userId: Member | None = None
    anonymousId: Member | None = None
    groupId: Member | None = None
    previousId: Member | None = None
    messageId: Member | None = None
    timestamp: Member | None = None
    properties: dict[str, Member] = {}
    traits: dict[str, Member] = {}
    context: dict[str, Member] = {}

    def members(self) -> Iterator[tuple[tuple[str, ...], Member]]:
        """Every member that is mapped, by its path in the event."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in _HOLDERS:
                yield from (((name, inner), member) for inner, member in value.items())
            elif name != "type" and value is not None:
                yield (name,), value


class _Reading(NamedTuple):
    place: tuple[str, ...]
    column: str
    read: Reader


class EventMapping:
    """A mapping that is ready to make events. `latest` is the time after which no event of the past can lie."""

    def __init__(self, document: Document, latest: datetime) -> None:
        self.kind = document.type
        self._fixed: list[tuple[tuple[str, ...], Any]] = []
        self._readings: list[_Reading] = []
        for place, member in document.members():
            if isinstance(member, Fixed):
                self._fixed.append((place, member.value))
            else:
                column = Column(column=member) if isinstance(member, str) else member
                self._readings.append(_Reading(place, column.column, _reader(place, column, latest)))
        self._id_column = next((each.column for each in self._readings if each.place == ("messageId",)), None)
        mapped = {place[0] for place, _ in document.members()}
        if missing := [name for name in _NEEDED[self.kind] if name not in mapped]:
            raise LocalError(
                f"The mapping says nothing of {' and '.join(missing)}: a {self.kind} of the past needs it."
            )
        if not mapped & {"userId", "anonymousId"}:
            raise LocalError("The mapping names neither userId nor anonymousId: nobody would be meant.")

    @property
    def columns(self) -> list[str]:
        """The columns that it reads."""
        return list(dict.fromkeys(reading.column for reading in self._readings))

    def own_id(self, row: Row) -> str | None:
        """The messageId that the row itself gives, if the mapping names a column for it."""
        return None if self._id_column is None else _text(look_up(row, self._id_column))

    def event(self, row: Row) -> dict[str, Any]:
        """The event of a row, without a messageId unless a column gives it. Raises Refused, and names the column."""
        event: dict[str, Any] = {"type": self.kind}
        for place, value in self._fixed:
            _put(event, place, value)
        for place, column, read in self._readings:
            cell = look_up(row, column)
            if cell is None or cell == "":
                if place == ("messageId",):
                    raise Refused(f"{column} is empty, and the mapping takes the messageId from it")
                continue
            try:
                _put(event, place, read(cell))
            except ValueError as error:
                raise Refused(f"{column}: {error}") from None
        if not (event.get("userId") or event.get("anonymousId")):
            raise Refused("the row has neither a userId nor an anonymousId")
        for name in _NEEDED[self.kind]:
            if event.get(name) in (None, ""):
                raise Refused(f"the row has no {name}")
        return event


class AsItIs:
    """Rows that are events in Segment's form already."""

    columns: tuple[str, ...] = ()

    def __init__(self, latest: datetime) -> None:
        self._latest = latest

    def own_id(self, row: Row) -> str | None:
        """The messageId that the row itself gives."""
        return _text(row.get("messageId"))

    def event(self, row: Row) -> dict[str, Any]:
        """The event, without what an archive knows of its first delivery: `sentAt` would be taken for a clock that is wrong,
        and `timestamp` is right already. Raises Refused when it says no time of the past, and its kind needs one."""
        event = {name: value for name, value in row.items() if name not in ("sentAt", "originalTimestamp")}
        stated = event.get("timestamp") or row.get("originalTimestamp")
        kind = event.get("type")
        if stated is None and "timestamp" in _NEEDED.get(str(kind), ()):
            raise Refused(f"the row has no timestamp, and a {kind} of the past needs it")
        if stated is not None:
            try:
                event["timestamp"] = time(stated, latest=self._latest)
            except Refused as error:
                raise Refused(f"timestamp: {error}") from None
        return event


Events = EventMapping | AsItIs


def look_up(row: Row, column: str) -> Any:
    """The cell of a column; in nested objects by a path with dots. None when there is none."""
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(cell: Any) -> str | None:
    """A messageId as text; None when the cell holds none."""
    try:
        return None if cell is None else identifier(cell) or None
    except Refused:
        return None


def _reader(place: tuple[str, ...], column: Column, latest: datetime) -> Reader:
    if place == ("timestamp",):
        if column.type not in (None, "time"):
            raise LocalError(f"timestamp is a time, not a {column.type}: leave the type out.")
        return partial(time, format=column.format, zone=zone_named(column.zone), latest=latest)
    if place[0] in (*IDS, "event", "name", "category"):
        if column.type not in (None, "text"):
            raise LocalError(f"{place[0]} is text, not a {column.type}: leave the type out.")
        return identifier
    match column.type:
        case None:
            return lambda cell: cell
        case "number":
            return partial(number, decimal=column.decimal)
        case "time":
            return partial(time, format=column.format, zone=zone_named(column.zone), latest=None)
        case other:
            return READERS[other]


def _put(event: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    holder = event
    for name in place[:-1]:
        holder = holder.setdefault(name, {})
    holder[place[-1]] = value
