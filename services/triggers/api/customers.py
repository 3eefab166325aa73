"""Routes of a customer's inbox, and of opting out and in."""

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from pydantic import BaseModel

from libs.common.contracts.ids import fresh
from libs.common.errors import Invalid
from libs.common.fold.commands import Commands
from libs.common.fold.decider import Applied
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.require_self import require_self
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.observability.telemetry import current_traceparent
from services.triggers import queries
from services.triggers.decider import TriggersHandler
from services.triggers.domain.inputs import MarkSeen, OptIn, OptOut
from services.triggers.domain.state import Recipient

Reader = Annotated[Principal, Depends(require("customers:read"))]
Writer = Annotated[Principal, Depends(require("hooks:write"))]
OwnReader = Annotated[Principal, Depends(require("customers:read", own="own:inbox"))]
OwnWriter = Annotated[Principal, Depends(require("hooks:write", own="own:inbox"))]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Message(BaseModel):
    """A message in an inbox. `occurred_at` is the time of the event that it follows from."""

    id: UUID
    hook: UUID
    hook_name: str
    title: str | None
    text: str
    event: str
    occurred_at: datetime
    sent_at: datetime
    seen_at: datetime | None


class Inbox(BaseModel):
    """A page of an inbox, the newest first."""

    items: list[Message]
    next: str | None


class Receiving(BaseModel):
    """Whether a customer gets messages, or since when they have opted out."""

    customer: UUID
    messages: Literal["on", "off"]
    off_since: datetime | None


class Sums(Receiving):
    """The same, with the number of messages in each state."""

    counts: dict[str, int]


def routes(part: ConsumerService, handler: TriggersHandler) -> APIRouter:
    """Read an inbox, mark a message as seen, opt out and in."""
    router = APIRouter(prefix="/v1/customers/{ref}", tags=["customers"])

    async def command(customer: UUID, body: MarkSeen | OptOut | OptIn, key: str) -> Any:
        commands: Commands[Recipient, Any] = Commands(part.fold, handler)
        return await commands.run(
            customer,
            body,
            key=key,
            at=datetime.now(UTC),
            answer=_receiving,
            traceparent=current_traceparent(),
        )

    @router.get("/inbox", summary="The customer's messages, the newest first")
    async def inbox(
        ref: str, who: OwnReader, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: str | None = None
    ) -> Inbox:
        before = None if cursor is None else _cursor_of(cursor)
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer = (await queries.customer(tx, handler.customers, ref))[0]
            rows = await queries.inbox(tx, customer, limit + 1, before)
        items = [Message(**row) for row in rows[:limit]]
        return Inbox(items=items, next=_next(items[-1]) if len(rows) > limit else None)

    @router.post("/inbox/{message}/seen", summary="The customer opened a message; the first time counts")
    async def seen(ref: str, message: UUID, who: OwnWriter) -> Message:
        async with part.read() as tx:
            await require_self(tx, handler.customers, who, ref)
            customer = (await queries.customer(tx, handler.customers, ref))[0]
            found = await queries.message(tx, customer, message)
        if found["seen_at"] is None:
            await command(customer, MarkSeen(str(message), str(found["hook"])), f"seen/{message}")
        async with part.read() as tx:
            customer = (await queries.customer(tx, handler.customers, ref))[0]
            return Message(**await queries.message(tx, customer, message))

    @router.get("/messages", summary="Whether the customer gets messages, and how many they got")
    async def messages(ref: str, _: Reader) -> Sums:
        async with part.read() as tx:
            customer, state = await queries.customer(tx, handler.customers, ref)
            counts = await queries.messages(tx, customer)
        return Sums(**_shown(customer, state), counts=counts)

    @router.post("/messages/off", summary="The customer opts out: no more messages")
    async def off(ref: str, who: Writer, key: Key = None) -> Receiving:
        """Queued messages are withheld, too. Repeating it changes nothing."""
        async with part.read() as tx:
            customer = (await queries.customer(tx, handler.customers, ref))[0]
        return Receiving(**await command(customer, OptOut(who.subject), f"off/{key or fresh()}"))

    @router.post("/messages/on", summary="The customer opts in again")
    async def on(ref: str, who: Writer, key: Key = None) -> Receiving:
        async with part.read() as tx:
            customer = (await queries.customer(tx, handler.customers, ref))[0]
        return Receiving(**await command(customer, OptIn(who.subject), f"on/{key or fresh()}"))

    return router


def _receiving(applied: Applied[Recipient]) -> dict[str, Any]:
    return _shown(applied.customer, applied.state)


def _shown(customer: UUID, state: Recipient) -> dict[str, Any]:
    off = state.off_since
    return {"customer": customer, "messages": "on" if off is None else "off", "off_since": off}


def _next(message: Message) -> str:
    microseconds = (message.sent_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(struct.pack(">q16s", microseconds, message.id.bytes)).decode()


def _cursor_of(cursor: str) -> tuple[datetime, UUID]:
    try:
        microseconds, id = struct.unpack(">q16s", base64.urlsafe_b64decode(cursor))
        return _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=id)
    except (binascii.Error, struct.error, ValueError, OverflowError) as error:
        raise Invalid("The cursor is not valid: send `next` of the previous page, unchanged.") from error
