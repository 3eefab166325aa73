"""What people say and decide about a customer: notes, de-selection, the kind of relationship."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.profile import RelationshipKind
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.profile import notes, queries
from services.profile.api import answers
from services.profile.commands import Commands
from services.profile.domain.commands import AddNote, Deselect, Reselect, SetRelationship
from services.profile.domain.state import Customer
from services.profile.segments.rulebooks import Rulebooks

Reader = Annotated[Principal, Depends(require("customers:read"))]
Writer = Annotated[Principal, Depends(require("customers:write"))]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="sent again, it is answered again, once"),
]
_Reason = Annotated[str, Field(min_length=1, max_length=1000, examples=["pays late, three times"])]


class NewNote(BaseModel):
    """A note on a customer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"text": "Prefers calls in the morning."}})

    text: str = Field(min_length=1, max_length=10_000)


class Reason(BaseModel):
    """Why it was decided."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "pays late, three times"}})

    reason: _Reason


class SaidRelationship(Reason):
    """What the relationship is based on; null: it is derived again."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"kind": "advisory", "reason": "plans her kitchen with us"}}
    )

    kind: RelationshipKind | None


def care_routes(part: ConsumerService, commands: Commands, rulebooks: Rulebooks) -> APIRouter:
    """Reading needs `customers:read`, writing `customers:write`."""
    router = APIRouter(prefix="/v1/customers/{ref}", tags=["customers"])
    customers = Customers("profile", Customer)

    async def resolve(ref: str) -> UUID:
        async with part.read() as tx:
            return await customers.resolve(tx, ref)

    async def shown(customer: UUID) -> dict[str, Any]:
        async with part.read() as tx:
            survivor = await customers.survivor(tx, customer)
            return await queries.customer(tx, survivor, await rulebooks.newest(tx))

    @router.post("/notes", status_code=201, summary="Write a note on a customer", response_model=answers.Note)
    async def write(ref: str, note: NewNote, who: Writer, key: Key = None) -> Any:
        """The note stays with the customer through merges. The timeline has a `Note Added`, without the text."""
        return await commands.run(await resolve(ref), AddNote(note.text, who.subject), key=key)

    @router.get("/notes", summary="The notes on a customer, newest first", response_model=answers.Notes)
    async def page(
        ref: str,
        _: Reader,
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many items")] = 50,
        cursor: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> dict[str, Any]:
        async with part.read() as tx:
            return await notes.page(tx, await customers.resolve(tx, ref), limit, cursor)

    @router.post("/deselect", summary="Stop marketing to a customer", response_model=answers.CustomerInFull)
    async def deselect(ref: str, why: Reason, who: Writer, key: Key = None) -> dict[str, Any]:
        """Hooks withhold their messages with the reason `deselected`, but for those of the purpose `service`. It stays through
        merges. Who is de-selected already keeps the first reason."""
        customer = await resolve(ref)
        await commands.run(customer, Deselect(why.reason, who.subject), key=key)
        return await shown(customer)

    @router.post("/reselect", summary="Market to a customer again", response_model=answers.CustomerInFull)
    async def reselect(ref: str, why: Reason, who: Writer, key: Key = None) -> dict[str, Any]:
        """Their own consent counts as before."""
        customer = await resolve(ref)
        await commands.run(customer, Reselect(why.reason, who.subject), key=key)
        return await shown(customer)

    @router.put("/relationship", summary="Say what a relationship is based on", response_model=answers.CustomerInFull)
    async def relate(ref: str, said: SaidRelationship, who: Writer, key: Key = None) -> dict[str, Any]:
        """It stays until somebody says otherwise. `null` lets it be derived from orders and level again. Of two customers who
        are merged the later word counts."""
        customer = await resolve(ref)
        await commands.run(customer, SetRelationship(said.kind, said.reason, who.subject), key=key)
        return await shown(customer)

    return router
