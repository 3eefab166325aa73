"""The rejected events, each with its reason, and their replay."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from libs.common.runtime.postgres import Postgres
from services.ingest import queries, replays
from services.ingest.api.sources import Limit, Reader, Writer
from services.ingest.build_records import EventResult
from services.ingest.domain.limits import ID
from services.ingest.replays import Replays, Wanted

NEWEST, OLDEST = UUID(int=2**128 - 1), UUID(int=0)

_result = msgspec.json.Decoder(EventResult).decode


class ReplayResult(BaseModel):
    """What became of an event in its replay. It is `rejected` again, or stored with the `message_id`."""

    status: Literal["ok", "warning", "rejected"]
    message_id: str | None
    reason: str | None


class RejectedEvent(BaseModel):
    """`body` is all of the `size` bytes, or the first 4 KB of them. Of an event that breaks the tracking plan, it is what would
    have been stored, with its time. `result` is that of its replay, once it was stored."""

    id: UUID
    source: str
    received_at: datetime
    reason: str
    type: str | None
    event: Annotated[str | None, Field(description="the name of a track")]
    message_id: str | None
    size: int
    body: str
    replayed_at: datetime | None
    result: ReplayResult | None


class RejectedPage(BaseModel):
    """`only_counted` more were rejected in the last seven days, too many in a minute to be listed."""

    items: list[RejectedEvent]
    next: str | None
    only_counted: int


class NewReplay(BaseModel):
    """The event as it should have been; without `body`, it is replayed as it came."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"body": {"type": "track", "event": "Seen", "userId": "ann", "properties": {"sku": "a1"}}}
        },
    )

    body: dict[str, Any] | None = None


class Replay(ReplayResult):
    id: UUID
    replayed_at: datetime | None


class NewReplays(BaseModel):
    """Which events to replay. What is left out stands for any."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"source": "shop-web", "reason": "tracking plan"}}
    )

    source: Annotated[str | None, Field(max_length=64, description="a source's name")] = None
    event: Annotated[str | None, Field(max_length=ID, description="the name of a track")] = None
    reason: Annotated[str | None, Field(max_length=200, description="a part of the reason")] = None
    limit: Annotated[StrictInt, Field(ge=1, le=500, description="events that are tried")] = 100
    cursor: Annotated[UUID, Field(description="`next` of the page before")] = OLDEST


class ReplayPage(BaseModel):
    """The events that were tried, the oldest first. With `next`, call again: there may be more."""

    items: list[Replay]
    next: UUID | None


def routes(postgres: Postgres, rejected: Replays) -> APIRouter:
    """The list of rejected events, and their replay."""
    router = APIRouter(prefix="/v1/rejected", tags=["sources"], responses={404: {}})

    @router.get("", summary="Rejected events of the last seven days, the newest first")
    async def page(
        _: Reader,
        source: Annotated[str | None, Query(description="a source's name; all without it")] = None,
        event: Annotated[str | None, Query(description="the name of a track; all without it")] = None,
        replayed: Annotated[
            bool | None, Query(description="only those that were stored in a replay, or were not")
        ] = None,
        limit: Limit = 50,
        cursor: UUID = NEWEST,
    ) -> RejectedPage:
        async with postgres.database.connection() as connection:
            found = await queries.rejected(connection, source, event, replayed, cursor, limit + 1)
            only_counted = await queries.only_counted(connection, source)
        items = [_shown(row) for row in found[:limit]]
        return RejectedPage(
            items=items, next=str(items[-1].id) if len(found) > limit else None, only_counted=only_counted
        )

    @router.post("/{id}/replay", summary="Take a rejected event after all, as it came or mended", responses={409: {}})
    async def replay(id: UUID, _: Writer, new: NewReplay | None = None) -> Replay:
        """It is decided on under the tracking plan and the settings of now. Once it is stored, further calls answer the same
        and store nothing. It keeps its time, and its messageId unless the mended body has another one."""
        return _replay(await rejected.one(id, None if new is None else new.body))

    @router.post("/replay", summary="Take many rejected events after all, as they came")
    async def replay_all(_: Writer, new: NewReplays | None = None) -> ReplayPage:
        """Tries those that were kept whole and are not stored yet. Those that are rejected again stay in the list."""
        new = new or NewReplays()
        found = await rejected.all(Wanted(new.source, new.event, new.reason, new.cursor, new.limit))
        items = [_replay(each) for each in found]
        return ReplayPage(items=items, next=items[-1].id if len(items) == new.limit else None)

    return router


def _shown(row: Any) -> RejectedEvent:
    body, result = bytes(row["body"]).decode("utf-8", "replace"), row["result"]
    return RejectedEvent(
        **{**row, "body": body, "result": None if result is None else _of_result(_result(result))},
    )


def _of_result(result: EventResult) -> ReplayResult:
    return ReplayResult(status=result.status, message_id=result.messageId, reason=result.reason)


def _replay(each: replays.Replay) -> Replay:
    return Replay(id=each.id, replayed_at=each.replayed_at, **_of_result(each.result).model_dump())
