"""Cursors: where a page ends, in a form that only `next` gives out and only `?cursor=` takes back."""

import base64
from datetime import datetime
from uuid import UUID

from libs.common.errors import Invalid


def encoded(place: str) -> str:
    """A cursor: a place, in characters that need no escaping."""
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def decoded(cursor: str, parts: int) -> list[str]:
    """The parts of a cursor's place. Raises ValueError (binascii.Error is one) if it is no cursor."""
    found = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split("|", parts - 1)
    if len(found) != parts:
        raise ValueError("too few parts")
    return found


def behind(moment: datetime, id: UUID) -> str:
    """The cursor of a list by time, then id: behind this entry."""
    return encoded(f"{moment.isoformat()}|{id}")


def read_behind(cursor: str | None) -> tuple[datetime, UUID] | tuple[None, None]:
    """The entry of a list by time that a page begins behind; of none, at the beginning. Raises Invalid."""
    if cursor is None:
        return None, None
    try:
        text, id = decoded(cursor, 2)
        return zoned(text), UUID(id)
    except ValueError as error:
        raise no_cursor() from error


def zoned(text: str) -> datetime:
    """A time of a cursor. Raises ValueError if it is none, or has no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return moment


def no_cursor() -> Invalid:
    """The error for a cursor that is none."""
    return Invalid("the cursor is none that was given out: take `next` of the page before as it is")
