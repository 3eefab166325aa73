"""Routes of hooks, of their versions, and of the workspace's limits."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from libs.common.db.pool import Tx
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.etag import CHANGED, IfMatch, set_etag
from services.triggers import event_catalogue, hooks, queries
from services.triggers.delivery.addresses import Addresses
from services.triggers.domain.event_catalogue import warnings
from services.triggers.domain.hook import Hook, QuietHours
from services.triggers.domain.validation import refuse_faulty

Reader = Annotated[Principal, Depends(require("hooks:read"))]
Writer = Annotated[Principal, Depends(require("hooks:write"))]


class ShownHook(Hook):
    """A hook in its newest version. `live_version` is in force, or was when the hook was paused."""

    model_config = ConfigDict(json_schema_extra={})

    id: UUID
    version: int
    status: Literal["draft", "live", "paused"]
    live_version: int | None
    paused_reason: str | None
    paused_at: datetime | None
    created_at: datetime
    edited_by: str
    edited_at: datetime
    published_by: str | None
    published_at: datetime | None


class SavedHook(ShownHook):
    """`warnings` name events and properties that no app has sent. `secret` signs its webhooks, and is shown only this once."""

    warnings: list[str]
    secret: str | None


class Version(BaseModel):
    """One version of a hook; it never changes."""

    version: int
    edited_by: str
    edited_at: datetime
    published_by: str | None
    published_at: datetime | None
    hook: Hook


class HookWithVersions(ShownHook):
    versions: list[Version]


class Hooks(BaseModel):
    """A page of hooks, each in its newest version."""

    items: list[ShownHook]
    next: UUID | None


class SecretChange(BaseModel):
    """How long the old secret stays valid."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"overlap": 86400}})

    overlap: StrictInt = Field(
        default=86_400,
        ge=0,
        le=2_592_000,
        description="seconds; 0 ends all old secrets immediately, for example when one leaked",
    )


class Secret(BaseModel):
    """`secret` (`whsec_…`) is shown only this once."""

    secret: str


class Messages(BaseModel):
    """The limits of all hooks: how many messages a customer gets at most in one of their days (null is any number), and the
    quiet hours of hooks that name none (null or left out: there are none)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"daily_cap": 3, "quiet_hours": {"from": "22:00", "to": "08:00"}}},
    )

    daily_cap: Annotated[int | None, Field(ge=0, le=10_000)]
    quiet_hours: QuietHours | None = None


def routes(part: ConsumerService, addresses: Addresses) -> APIRouter:
    """Create, read, edit, publish, pause and resume hooks."""
    router = APIRouter(prefix="/v1", tags=["hooks"])

    @router.post("/hooks", status_code=201, summary="A new hook, as a draft")
    async def create(hook: Hook, who: Writer, response: Response) -> SavedHook:
        refuse_faulty(hook, addresses.allowed)
        async with part.tx() as tx:
            id, secret = await hooks.create(tx, hook, who.subject)
            return await _saved(tx, id, secret, response)

    @router.get("/hooks", summary="The hooks, the oldest first")
    async def page(_: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: UUID | None = None) -> Hooks:
        async with part.read() as tx:
            rows = await queries.hooks(tx, limit + 1, cursor)
        items = [shown(row) for row in rows[:limit]]
        return Hooks(items=items, next=items[-1].id if len(rows) > limit else None)

    @router.get("/hooks/{id}", summary="A hook with all its versions")
    async def read(id: UUID, _: Reader, response: Response) -> HookWithVersions:
        """Send the `ETag` as `If-Match` to edit or publish this very state."""
        async with part.read() as tx:
            row = await queries.hook(tx, id)
            set_etag(response, hooks.tag(row))
            versions = [
                Version(
                    **{name: each[name] for name in Version.model_fields if name != "hook"},
                    hook=Hook.model_validate_json(each["content"]),
                )
                for each in await queries.versions(tx, id)
            ]
        return HookWithVersions(**shown(row).model_dump(), versions=versions)

    @router.put(
        "/hooks/{id}",
        summary="Edit a hook: a new version, as a draft; the live one stays in force",
        responses=CHANGED,
    )
    async def edit(id: UUID, hook: Hook, who: Writer, response: Response, if_match: IfMatch = None) -> SavedHook:
        refuse_faulty(hook, addresses.allowed)
        async with part.tx() as tx:
            secret = await hooks.edit(tx, id, hook, who.subject, if_match)
            return await _saved(tx, id, secret, response)

    @router.post(
        "/hooks/{id}/publish",
        summary="Put the newest version in force, for records folded from now on",
        responses=CHANGED,
    )
    async def publish(id: UUID, who: Writer, response: Response, if_match: IfMatch = None) -> ShownHook:
        """Each event falls under exactly one version."""
        async with part.tx() as tx:
            await hooks.publish(tx, id, who.subject, if_match)
            return await _shown(tx, id, response)

    @router.post(
        "/hooks/{id}/secret", status_code=201, summary="A new secret for a hook's webhooks, shown only this once"
    )
    async def rotate(id: UUID, _: Writer, change: SecretChange | None = None) -> Secret:
        """Until the overlap ends, each webhook has a signature of the new and of the old secret: change the receiver in that
        time."""
        async with part.tx() as tx:
            return Secret(secret=await hooks.rotate_secret(tx, id, (change or SecretChange()).overlap))

    @router.post("/hooks/{id}/pause", summary="Stop a hook and withhold its queued messages, within a second")
    async def pause(id: UUID, who: Writer, response: Response) -> ShownHook:
        async with part.tx() as tx:
            await hooks.pause(tx, id, who.subject, f"paused by {who.subject}")
            return await _shown(tx, id, response)

    @router.post("/hooks/{id}/resume", summary="Put a paused hook in force again, in the version that was live")
    async def resume(id: UUID, who: Writer, response: Response) -> ShownHook:
        async with part.tx() as tx:
            await hooks.resume(tx, id, who.subject)
            return await _shown(tx, id, response)

    @router.get("/workspace/messages", summary="The limits of all messages to a customer")
    async def limits(_: Reader) -> Messages:
        async with part.read() as tx:
            return Messages(**(await queries.workspace(tx))._asdict())

    @router.put("/workspace/messages", summary="Set the limits of all messages to a customer")
    async def set_limits(messages: Messages, who: Writer) -> Messages:
        """For records folded from now on. Queued messages keep the quiet hours under which they were queued."""
        async with part.tx() as tx:
            await hooks.set_workspace(tx, queries.Workspace(messages.daily_cap, messages.quiet_hours), who.subject)
        return messages

    return router


async def _shown(tx: Tx, id: UUID, response: Response) -> ShownHook:
    row = await queries.hook(tx, id)
    set_etag(response, hooks.tag(row))
    return shown(row)


async def _saved(tx: Tx, id: UUID, secret: str | None, response: Response) -> SavedHook:
    saved = await _shown(tx, id, response)
    event = saved.trigger.event
    found = warnings(saved, await event_catalogue.names(tx), await event_catalogue.properties(tx, event))
    return SavedHook(**saved.model_dump(), warnings=found, secret=secret)


def shown(row: queries.Row) -> ShownHook:
    """A hook's row, as the routes answer it."""
    names = ShownHook.model_fields.keys() - Hook.model_fields.keys()
    return ShownHook(**Hook.model_validate_json(row["content"]).model_dump(), **{name: row[name] for name in names})
