"""Dead letters over REST, the same for every service with a fold: `/v1/{service}/dead-letters`."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from libs.common.errors import Conflict
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require

Operator = Annotated[Principal, Depends(require("operate"))]


_MENDED: JsonDict = {
    "type": "track",
    "messageId": "order-1001",
    "userId": "ann",
    "event": "Order Completed",
    "properties": {"order_id": "1001", "revenue": 29.33, "currency": "USD"},
}


class Mended(BaseModel):
    """The record's whole `data` as it should have been; leave it out to replay the record as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"data": _MENDED}})

    data: dict[str, Any] | None = None


class Discard(BaseModel):
    """Why records are given up; kept with them, or in the service's log."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "a test event of the old app"}})

    reason: str = Field(min_length=3, max_length=500)


class Origin(BaseModel):
    """Where the record lies in the log."""

    topic: str
    partition: int
    offset: int
    key: str


class DeadLetter(BaseModel):
    """A record that could not be applied, why, and what became of it."""

    id: UUID
    origin: Origin
    error: str
    died_at: datetime
    outcome: Literal["waiting", "replayed", "discarded"]
    reason: str | None
    settled_by: str | None
    settled_at: datetime | None


class WholeDeadLetter(DeadLetter):
    """The same, with the error's stack and the record: a CloudEvent, or `{base64}` when it is no JSON."""

    trace: str
    record: Any


class DeadLetters(BaseModel):
    """A page of dead letters, the oldest first."""

    items: list[DeadLetter]
    next: UUID | None


class Failed(BaseModel):
    """A dead letter that failed again, and why."""

    id: UUID
    detail: str


class Replayed(BaseModel):
    """How many were applied, and those that failed again."""

    replayed: int
    failed: list[Failed]


class Through(BaseModel):
    """Records of a partition before offset `through` may be passed over."""

    topic: str
    partition: int
    through: int


class PassedOver(BaseModel):
    """Up to where each partition may pass over what is bad."""

    partitions: list[Through]


def dead_letter_routes(part: ConsumerService) -> APIRouter:
    """List, read, replay (one or all) and discard the records that this service could not take."""
    router = APIRouter(prefix=f"/v1/{part.service}/dead-letters", tags=["dead letters"])

    @router.get("", summary="The records that could not be applied, oldest first", response_model=DeadLetters)
    async def page(
        _: Operator,
        waiting: Annotated[bool, Query(description="leave out those replayed or discarded")] = True,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: UUID | None = None,
    ) -> dict[str, Any]:
        items = await part.dead_letters.page(waiting, limit + 1, cursor)
        return {"items": items[:limit], "next": items[limit - 1]["id"] if len(items) > limit else None}

    @router.get(
        "/{id}", summary="One of them, with its record, its error and the stack", response_model=WholeDeadLetter
    )
    async def read(id: UUID, _: Operator) -> dict[str, Any]:
        return await part.dead_letters.read(id)

    @router.post("/{id}/replay", summary="Apply it now, as it is or mended", response_model=WholeDeadLetter)
    async def replay(id: UUID, operator: Operator, mended: Mended | None = None) -> dict[str, Any]:
        return await part.dead_letters.replay(id, operator.subject, mended.data if mended else None)

    @router.post("/replay", summary="Apply all that wait, in the order of their records", response_model=Replayed)
    async def replay_all(operator: Operator) -> dict[str, Any]:
        """Goes on past those that fail again; says which."""
        replayed, failed = 0, []
        for id in await part.dead_letters.waiting():
            try:
                await part.dead_letters.replay(id, operator.subject)
                replayed += 1
            except Conflict as conflict:
                failed.append({"id": str(id), "detail": conflict.detail})
        return {"replayed": replayed, "failed": failed}

    @router.post("/skip", summary="Skip bad records again, up to the present end", response_model=PassedOver)
    async def skip(operator: Operator, given: Discard) -> dict[str, Any]:
        """After the breaker stopped partitions because too many records failed: what fails among the records that have come
        so far goes into the dead letters after all. What comes later is judged anew."""
        through = await part.dead_letters.skip(operator.subject, given.reason)
        partitions = [{"topic": tp.topic, "partition": tp.partition, "through": end} for tp, end in through.items()]
        return {"partitions": partitions}

    @router.post("/{id}/discard", summary="Give it up, with a reason", response_model=WholeDeadLetter)
    async def discard(id: UUID, operator: Operator, given: Discard) -> dict[str, Any]:
        return await part.dead_letters.discard(id, operator.subject, given.reason)

    return router
