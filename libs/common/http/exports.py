"""A service's part of an export over REST, the same for every service that folds the journal: `POST /v1/{service}/export`."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from libs.common.fold.personal import Personal, held
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require

Exporter = Annotated[Principal, Depends(require("customers:export"))]
_EXAMPLE: Any = {"customers": ["7b0c6a58-6f0e-8d5f-9a55-0d7f3c2a1b00"], "identifiers": ["user:ann", "anon:a1"]}


class Person(BaseModel):
    """One person: their customer's id and those of customers merged into it, and their identifiers. Profile knows both."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    customers: list[UUID] = Field(max_length=200)
    identifiers: list[str] = Field(max_length=2_000)


class Held(BaseModel):
    """What a service has of a person: the rows of each table."""

    held: dict[str, list[dict[str, Any]]] = Field(examples=[{"entries": [{"points": 29, "kind": "credited"}]}])


def shown(found: object) -> Response:
    """The answer, with dates, ids and bytes as JSON has them."""
    return Response(msgspec.json.encode({"held": found}), media_type="application/json")


def export_routes(part: ConsumerService, personal: Personal) -> APIRouter:
    """The route needs the scope `customers:export`."""
    router = APIRouter(prefix=f"/v1/{part.service}", tags=["privacy"])

    @router.post("/export", summary="What this service has of a person", response_model=Held)
    async def export(person: Person, _: Exporter) -> Response:
        """A part of `POST /v1/customers/{ref}/export`, which gathers those of all services. An unknown person has nothing."""
        async with part.read() as tx:
            return shown(await held(tx, part.service, personal, person.customers))

    return router
