"""The rejected events, each with its reason."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from libs.common.runtime.postgres import Postgres
from services.ingest import queries
from services.ingest.api.sources import Limit, Reader

NEWEST = UUID(int=2**128 - 1)


class RejectedEvent(BaseModel):
    """`body` is cut to 4 KB of the `size` bytes that were sent."""

    id: UUID
    source: str
    received_at: datetime
    reason: str
    type: str | None
    message_id: str | None
    size: int
    body: str


class RejectedPage(BaseModel):
    """`only_counted` more were rejected in the last seven days, too many in a minute to be listed."""

    items: list[RejectedEvent]
    next: str | None
    only_counted: int


def routes(postgres: Postgres) -> APIRouter:
    """The list of rejected events."""
    router = APIRouter(prefix="/v1/rejected", tags=["sources"])

    @router.get("", summary="Rejected events of the last seven days, the newest first", responses={404: {}})
    async def page(
        _: Reader,
        source: Annotated[str | None, Query(description="a source's name; all without it")] = None,
        limit: Limit = 50,
        cursor: UUID = NEWEST,
    ) -> RejectedPage:
        async with postgres.database.connection() as connection:
            found = await queries.rejected(connection, source, cursor, limit + 1)
            only_counted = await queries.only_counted(connection, source)
        items = [RejectedEvent(**{**row, "body": row["body"].decode("utf-8", "replace")}) for row in found[:limit]]
        return RejectedPage(
            items=items, next=str(items[-1].id) if len(found) > limit else None, only_counted=only_counted
        )

    return router
