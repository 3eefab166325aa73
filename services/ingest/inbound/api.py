"""Inbound webhooks over REST: declared, listed, changed, and received."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from libs.common.contracts.written import Written
from libs.common.errors import Invalid
from libs.common.http.openapi import OWN_MEANINGS
from libs.common.runtime.postgres import Postgres
from services.ingest.api.raw import RawRoute
from services.ingest.api.sources import OLDEST, Limit, Reader, Writer
from services.ingest.inbound import store
from services.ingest.inbound.mapping import InboundMapping
from services.ingest.inbound.ready import READY, AnyMapping, ReadyName, chosen
from services.ingest.inbound.receiver import InboundReceiver
from services.ingest.inbound.signatures import Form, make_secret, require_usable
from services.ingest.store import require_source

_HEADER = Written("^[A-Za-z0-9-]{1,100}$", "a header's name has letters, digits and hyphens, such as X-Webhook-Secret")
Name = Annotated[str, Field(min_length=1, max_length=100, examples=["Shopify orders"])]
Secret = Annotated[
    str | None,
    Field(max_length=500, description="the sender's; without one, a secret is made and shown this once"),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewInboundHook(_Strict):
    """A webhook that another system will post. `mapping` is a ready one's name, or a mapping of your own."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "Shopify orders", "mapping": "shopify", "secret": "hush-from-the-shop's-settings"}
        }
    )

    name: Name
    mapping: AnyMapping
    signature: Annotated[Form | None, Field(description="how it is signed; a ready mapping knows its sender's")] = None
    secret_header: Annotated[
        Annotated[str, _HEADER] | None, Field(description="which header carries the secret, for the signature `header`")
    ] = None
    secret: Secret = None

    @model_validator(mode="after")
    def _whole(self) -> "NewInboundHook":
        form = self.form
        if (form == "header") != (self.secret_header is not None):
            raise ValueError("`secret_header` belongs to the signature `header`, and that one needs it")
        if self.secret is not None:
            require_usable(form, self.secret)
        return self

    @property
    def form(self) -> Form:
        """How it is signed."""
        if self.signature is not None:
            return self.signature
        if isinstance(self.mapping, InboundMapping):
            raise ValueError("a mapping of your own needs `signature`: how the sender signs")
        return READY[self.mapping].signature


class InboundHookChange(_Strict):
    """What is left out stays as it is. A change is in force with the next delivery."""

    model_config = ConfigDict(json_schema_extra={"example": {"mapping": "stripe"}})

    name: Name | None = None
    mapping: AnyMapping | None = None


class NewSecret(_Strict):
    """A new secret, the sender's or one that is made here; what is signed with the old one is taken for `overlap` seconds."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap": 86_400}})

    secret: Secret = None
    overlap: StrictInt = Field(default=86_400, ge=0, le=2_592_000, description="0 ends all old secrets immediately")


class InboundHook(BaseModel):
    """An inbound webhook. The sender posts to `path`."""

    id: UUID
    name: str
    path: str
    signature: Form
    secret_header: str | None
    mapping: InboundMapping
    created_at: datetime


class CreatedInboundHook(InboundHook):
    """`secret` is the one that was made, shown this once; null when it was given."""

    secret: str | None


class ChangedSecret(BaseModel):
    """`secret` is the one that was made, shown this once; null when it was given."""

    secret: str | None


class InboundHookPage(BaseModel):
    items: list[InboundHook]
    next: str | None


class ReadyMapping(BaseModel):
    """A ready mapping: `subscribe` says what the sender must be told to send."""

    name: str
    signature: Form
    subscribe: str
    mapping: InboundMapping


class ReadyMappings(BaseModel):
    items: list[ReadyMapping]
    next: None = None


_POSTED = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}, "example": {"id": "evt_1", "type": "ping"}}},
    },
    "responses": {
        "200": {
            "description": "Every event that the payload becomes is stored; `results` has one entry an event.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "success": {"const": True},
                            "results": {"type": "array", "items": {"type": "object"}},
                        },
                    },
                    "example": {"success": True, "results": [{"status": "ok", "messageId": "6f1c…"}]},
                }
            },
        }
    },
}
_MEANINGS = {
    "401": "The signature is missing, does not fit, or is too old.",
    "422": "The payload does not fit the mapping, or an event of it was rejected: it is listed under `/v1/rejected`.",
}
_REFUSALS: dict[int | str, dict[str, Any]] = {status: {} for status in (400, 401, 404, 408, 413, 422)}


def routes(postgres: Postgres) -> APIRouter:
    """Declare, list and change inbound webhooks."""
    router = APIRouter(prefix="/v1", tags=["inbound webhooks"])
    hooks = "/sources/{id}/hooks"

    @router.get("/hook-mappings", summary="The ready mappings")
    async def ready(_: Reader) -> ReadyMappings:
        return ReadyMappings(items=[_ready(name) for name in READY])

    @router.post(hooks, status_code=201, summary="Declare a webhook that another system will post")
    async def create(id: UUID, new: NewInboundHook, _: Writer) -> CreatedInboundHook:
        made = None if new.secret is not None else make_secret(new.form)
        mapping = chosen(new.mapping).model_dump_json(exclude_unset=True)
        async with postgres.database.transaction() as tx:
            await require_source(tx, id)
            hook = await store.add(tx, id, new.name, new.form, new.secret_header, new.secret or made or "", mapping)
            row = await store.one(tx, id, hook)
        return CreatedInboundHook(**_shown(row), secret=made)

    @router.get(hooks, summary="A source's webhooks, without their secrets")
    async def page(id: UUID, _: Reader, limit: Limit = 50, cursor: UUID = OLDEST) -> InboundHookPage:
        async with postgres.database.connection() as connection:
            await require_source(connection, id)
            found = await store.page(connection, id, cursor, limit + 1)
        items = [InboundHook(**_shown(row)) for row in found[:limit]]
        return InboundHookPage(items=items, next=str(items[-1].id) if len(found) > limit else None)

    @router.get(f"{hooks}/{{hook}}", summary="One webhook, without its secret")
    async def read(id: UUID, hook: UUID, _: Reader) -> InboundHook:
        async with postgres.database.connection() as connection:
            return InboundHook(**_shown(await store.one(connection, id, hook)))

    @router.patch(f"{hooks}/{{hook}}", summary="Change a webhook's name or mapping")
    async def change(id: UUID, hook: UUID, changes: InboundHookChange, _: Writer) -> InboundHook:
        given: dict[str, str] = {}
        if changes.name is not None:
            given["name"] = changes.name
        if changes.mapping is not None:
            given["mapping"] = chosen(changes.mapping).model_dump_json(exclude_unset=True)
        async with postgres.database.transaction() as tx:
            await store.change(tx, id, hook, given)
            return InboundHook(**_shown(await store.one(tx, id, hook)))

    @router.post(f"{hooks}/{{hook}}/secret", summary="Change a webhook's secret, with an overlap")
    async def rotate(id: UUID, hook: UUID, _: Writer, new: NewSecret | None = None) -> ChangedSecret:
        new = new or NewSecret()
        async with postgres.database.transaction() as tx:
            form: Form = (await store.one(tx, id, hook))["signature"]
            if new.secret is not None:
                _require_usable(form, new.secret)
            made = None if new.secret is not None else make_secret(form)
            await store.replace_secret(tx, id, hook, new.secret or made or "", new.overlap)
        return ChangedSecret(secret=made)

    @router.delete(f"{hooks}/{{hook}}", status_code=204, summary="Remove a webhook: what is posted to it is refused")
    async def remove(id: UUID, hook: UUID, _: Writer) -> Response:
        async with postgres.database.transaction() as tx:
            await store.remove(tx, id, hook)
        return Response(status_code=204)

    return router


def posted(receiver: InboundReceiver) -> APIRouter:
    """Where other systems post."""
    router = APIRouter(prefix="/v1", tags=["inbound webhooks"], route_class=RawRoute)
    router.add_api_route(
        "/inbound/{hook}",
        receiver.receive,
        methods=["POST"],
        name="inbound",
        summary="Where another system posts a webhook",
        description="The signature over the body decides; there is no token and no write key. Whatever the answer but 200,"
        " the sender should try again.",
        response_model=None,
        responses=_REFUSALS,
        openapi_extra={**_POSTED, OWN_MEANINGS: _MEANINGS},
    )
    return router


def _ready(name: ReadyName) -> ReadyMapping:
    found = READY[name]
    return ReadyMapping(name=name, signature=found.signature, subscribe=found.subscribe, mapping=found.mapping)


def _require_usable(form: Form, secret: str) -> None:
    try:
        require_usable(form, secret)
    except ValueError as error:
        raise Invalid(f"body.secret: {error}.") from None


def _shown(row: Any) -> dict[str, Any]:
    shown = {**row, "path": f"/v1/inbound/{row['id']}"}
    return {**shown, "mapping": InboundMapping.model_validate_json(row["mapping"])}
