"""What was stored with a warning, counted."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from libs.common.runtime.postgres import Postgres
from services.ingest import queries
from services.ingest.api.rejected import NEWEST
from services.ingest.api.sources import Limit, Reader


class EventWarning(BaseModel):
    """A wording of a day (in UTC): `…` stands for what differs between events. `example` is the last one, whole."""

    id: UUID
    source: str
    day: date
    warning: Annotated[str, Field(examples=["timestamp … is not ISO 8601, the time of receipt is used"])]
    events: int
    last_at: datetime
    example: str
    event: Annotated[str, Field(description="the name of that event")]
    message_id: str


class WarningPage(BaseModel):
    items: list[EventWarning]
    next: str | None


def routes(postgres: Postgres) -> APIRouter:
    """The list of warnings."""
    router = APIRouter(prefix="/v1/warnings", tags=["sources"])

    @router.get("", summary="Warnings of the last seven days, counted by source, day and wording", responses={404: {}})
    async def page(
        _: Reader,
        source: Annotated[str | None, Query(description="a source's name; all without it")] = None,
        limit: Limit = 50,
        cursor: UUID = NEWEST,
    ) -> WarningPage:
        async with postgres.database.connection() as connection:
            found = await queries.warnings(connection, source, cursor, limit + 1)
        items = [EventWarning(**row) for row in found[:limit]]
        return WarningPage(items=items, next=str(items[-1].id) if len(found) > limit else None)

    return router
