"""The usage over REST."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from libs.common.errors import Invalid
from libs.common.runtime.postgres import Postgres
from services.ingest.api.sources import Limit, Reader
from services.ingest.usage import store


class Usage(BaseModel):
    """The events of a source on a day in the workspace's zone. `warned` are those of the stored that have a warning."""

    source: str
    day: date
    stored: int
    warned: int
    rejected: int


class UsagePage(BaseModel):
    items: list[Usage]
    next: str | None


def routes(postgres: Postgres) -> APIRouter:
    """What came, by source and day."""
    router = APIRouter(prefix="/v1/usage", tags=["sources"])

    @router.get("", summary="Events by source and day, the newest day first", responses={404: {}})
    async def page(
        _: Reader,
        source: Annotated[str | None, Query(description="a source's name; all without it")] = None,
        since: Annotated[date, Query(description="the first day")] = date.min,
        until: Annotated[date, Query(description="the last day")] = date.max,
        limit: Limit = 50,
        cursor: Annotated[str | None, Query(max_length=100)] = None,
    ) -> UsagePage:
        """Counted as of the second before."""
        async with postgres.database.connection() as connection:
            found = await store.by_day(connection, source, since, until, _place(cursor), limit + 1)
        items = [Usage(**row) for row in found[:limit]]
        return UsagePage(items=items, next=f"{items[-1].day}_{items[-1].source}" if len(found) > limit else None)

    return router


def _place(cursor: str | None) -> tuple[date, str] | None:
    if cursor is None:
        return None
    day, _, source = cursor.partition("_")
    try:
        return date.fromisoformat(day), source
    except ValueError:
        raise Invalid("query.cursor: this is no `next` of an earlier page.") from None
