"""Routes of erasures: ask for one, and read what became of it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.profile import JOURNAL
from libs.common.errors import Conflict
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.log.keyed_hash import KeyedHash, installation_key
from services.profile.erasure import certificate, command, queries
from services.profile.erasure.command import Asked

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="a text of your own for this erasure: sent again, it is answered again",
    ),
]
Eraser = Annotated[Principal, Depends(require("customers:erase"))]


class Confirmation(BaseModel):
    """The customer's `{ref}` typed once more, so that nobody erases the wrong one by a slip."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"confirm": "user:ann"}})

    confirm: str = Field(max_length=600)


class ServiceAnswer(BaseModel):
    """What one service erased, and when. `kafka_until`: until when Kafka may have copies of its records (null without
    Kafka)."""

    erased: dict[str, int] = Field(examples=[{"entries": 12, "log": 40}])
    at: datetime
    kafka_until: datetime | None


class Erasure(BaseModel):
    """An erasure. `missing` are the services that have not answered yet. Once it is done, `certificate` is a JWT (EdDSA) that
    states the same, to be checked with `public_key`."""

    id: UUID
    customer: UUID
    status: Literal["running", "done"]
    asked_at: datetime
    asked_by: str
    done_at: datetime | None
    services: dict[str, ServiceAnswer]
    missing: list[str]
    certificate: str | None


class WholeErasure(Erasure):
    """The same, with the key that checks its certificate."""

    public_key: str = Field(description="Ed25519, PEM")


class ErasurePage(BaseModel):
    """A page of erasures, the newest first."""

    items: list[Erasure]
    next: UUID | None


def routes(part: ConsumerService) -> APIRouter:
    """All routes need the scope `customers:erase`."""
    router = APIRouter(prefix="/v1", tags=["privacy"])

    @router.post("/customers/{ref}/erasure", status_code=202, summary="Erase a customer in all services, for good")
    async def erase(ref: str, confirmation: Confirmation, key: Key, who: Eraser) -> WholeErasure:
        """Profile forgets the customer at once; the other services follow within seconds. It cannot be undone. Events that come
        later under the same identifiers make a new customer. Ask `GET /v1/erasures/{id}` until it is done."""
        if confirmation.confirm != ref:
            raise Conflict(f"`confirm` names another customer than the address: type {ref} to erase them")
        settings = part.settings
        hashes = KeyedHash(settings)
        asked = Asked(who.subject, hashes.of(f"key {key}"), hashes.of(f"erasure {ref}"))
        async with part.tx() as tx:
            id, written = await command.erase(tx, ref, asked, hashes, settings.zone, settings.partitions)
        part.fold.notifier.notify_later(JOURNAL, written)
        return await shown(id)

    @router.get("/erasures", summary="Erasures, the newest first")
    async def page(
        _: Eraser,
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many items")] = 50,
        cursor: UUID | None = None,
    ) -> ErasurePage:
        async with part.read() as tx:
            return ErasurePage.model_validate(await queries.page(tx, limit, cursor))

    @router.get("/erasures/{id}", summary="One erasure, with its certificate once it is done")
    async def one(id: UUID, _: Eraser) -> WholeErasure:
        return await shown(id)

    async def shown(id: UUID) -> WholeErasure:
        async with part.read() as tx:
            found: dict[str, Any] = await queries.erasure(tx, id)
        return WholeErasure(**found, public_key=certificate.public_pem(installation_key(part.settings)))

    return router
