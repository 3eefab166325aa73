"""Consents over REST: what a customer allows, what they say, and double opt-in."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from libs.common.contracts.consent import ALL_CHANNELS, NAME, SERVICE, key_of, parts_of, read_key
from libs.common.contracts.iso_types import Moment
from libs.common.errors import Invalid
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.require_self import require_self
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.profile import consents, queries
from services.profile.api import answers
from services.profile.commands import Commands
from services.profile.confirmations import Confirmation, Confirmations, expiry
from services.profile.domain.commands import ConfirmConsent, StateConsent
from services.profile.domain.consent import MOST, Proof
from services.profile.domain.state import Customer

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
DAY = 86_400

Reader = Annotated[Principal, Depends(require("customers:read", own="own:consent"))]
Speaker = Annotated[Principal, Depends(require("customers:write", own="own:consent"))]
Writer = Annotated[Principal, Depends(require("customers:write"))]
Purpose = Annotated[str, Path(pattern=NAME, examples=["marketing"])]
Channel = Annotated[str, Field(pattern=NAME, examples=["email"], description="`all` for every channel")]
Decided = Literal["granted", "denied"]
Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="sent again, it is answered again, once"),
]


class _Stated(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str = Field(default="api", min_length=1, max_length=200, examples=["preference page"])
    text_version: str | None = Field(
        default=None, min_length=1, max_length=200, examples=["2026-03"], description="of the text that they agreed to"
    )
    at: Moment | None = Field(
        default=None, description="when they said it, if not now; never with a customer's own token"
    )

    def proof(self, who: Principal) -> Proof:
        return Proof(self.source, self.text_version, who.subject)


class Preference(_Stated):
    """The customer grants or denies one purpose, on one channel or on all."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "granted", "source": "preference page", "text_version": "2026-03"}}
    )

    status: Decided
    channel: Channel = ALL_CHANNELS


class Preferences(_Stated):
    """The customer's choices, as a preference page saves them: by purpose, or by purpose and channel. Purposes that are not
    named stay as they are."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"consent": {"marketing": "granted", "marketing.sms": "denied"}, "source": "preference page"}
        }
    )

    consent: dict[str, Decided] = Field(min_length=1, max_length=MOST)


class ConsentRequest(BaseModel):
    """Ask the customer to confirm a consent with a link that you send to them. `expires_in` is in seconds."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"channel": "email", "source": "newsletter form", "text_version": "2026-03"}},
    )

    channel: Channel = ALL_CHANNELS
    source: str = Field(default="api", min_length=1, max_length=200, examples=["newsletter form"])
    text_version: str | None = Field(default=None, min_length=1, max_length=200, examples=["2026-03"])
    expires_in: StrictInt = Field(default=7 * DAY, ge=60, le=30 * DAY)


class Link(BaseModel):
    """The token of the link that the customer has followed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"token": "eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJyYXBwb3J0LWNvbnNlbnQifQ.x"}},
    )

    token: str = Field(min_length=1, max_length=4000)


def consent_routes(part: ConsumerService, commands: Commands, confirmations: Confirmations) -> APIRouter:
    """The routes of a customer's consents. A customer's own token reads and states their own."""
    router = APIRouter(prefix="/v1/customers/{ref}/consents", tags=["consent"])
    customers = Customers("profile", Customer)

    async def resolve(ref: str, who: Principal) -> UUID:
        async with part.read() as tx:
            await require_self(tx, customers, who, ref)
            return await customers.resolve(tx, ref)

    # dependencies, so that who may ask is checked before the body
    async def reader(ref: str, who: Reader) -> UUID:
        return await resolve(ref, who)

    async def speaker(ref: str, who: Speaker) -> UUID:
        return await resolve(ref, who)

    async def state(customer: UUID, command: StateConsent, who: Principal, key: str | None) -> dict[str, Any]:
        if key is not None and who.customer is not None:
            key = f"{who.customer}/{key}"  # customers' keys are their own: nobody can use up another's
        answer = await commands.run(customer, command, key=key, at=command.at)
        return {"customer": customer, **answer}

    @router.get("", summary="What a customer allows, each with its proof", response_model=answers.Consents)
    async def page(customer: Annotated[UUID, Depends(reader)]) -> dict[str, Any]:
        """`pending` waits for the customer's confirmation, and allows nothing. What is not listed was never said."""
        async with part.read() as tx:
            items = await consents.current(tx, customer, await queries.state_of(tx, customer))
        return {"customer": customer, "items": items}

    @router.put("", summary="The customer states what they allow", response_model=answers.Consented)
    async def put_all(
        customer: Annotated[UUID, Depends(speaker)], preferences: Preferences, who: Speaker, key: Key = None
    ) -> dict[str, Any]:
        """All choices of a preference page at once. The later statement wins, by when it was made."""
        said = {_key(name, f"consent.{name}"): status for name, status in preferences.consent.items()}
        if len(said) < len(preferences.consent):
            raise Invalid("Two of the names under consent are the same: capital and small letters make no difference.")
        command = StateConsent({**said}, preferences.proof(who), _said_at(preferences, who))
        return await state(customer, command, who, key)

    @router.get(
        "/{purpose}", summary="What holds for a purpose, and how it came about", response_model=answers.ConsentHistory
    )
    async def history(
        customer: Annotated[UUID, Depends(reader)],
        purpose: Purpose,
        limit: Annotated[int, Query(ge=1, le=200, description="at most so many statements")] = 50,
        cursor: Annotated[str | None, Query(max_length=1000)] = None,
    ) -> dict[str, Any]:
        """Statements of customers who were merged into this one are theirs too."""
        purpose = purpose.lower()
        async with part.read() as tx:
            held = await queries.state_of(tx, customer)
            now = await consents.current(tx, customer, held, purpose)
            said = await consents.history(tx, customer, held, purpose, limit, cursor)
        return {"customer": customer, "purpose": purpose, "now": now, **said}

    @router.put("/{purpose}", summary="The customer grants or denies a purpose", response_model=answers.Consented)
    async def put(
        customer: Annotated[UUID, Depends(speaker)],
        purpose: Purpose,
        preference: Preference,
        who: Speaker,
        key: Key = None,
    ) -> dict[str, Any]:
        """For one channel, or for all of them. A statement about all channels holds for each, until a later one."""
        said = _key(_joined(purpose, preference.channel), "purpose")
        command = StateConsent({said: preference.status}, preference.proof(who), _said_at(preference, who))
        return await state(customer, command, who, key)

    @router.post(
        "/{purpose}/requests",
        status_code=201,
        summary="Double opt-in: ask the customer to confirm with a link",
        response_model=answers.Requested,
    )
    async def ask(ref: str, purpose: Purpose, request: ConsentRequest, who: Writer, key: Key = None) -> dict[str, Any]:
        """The consent is `pending`, which allows nothing, until `POST /v1/consents/confirm` gets the token. Send it in a link
        to the address that the customer gave. A denial afterwards makes it worthless."""
        said = _key(_joined(purpose, request.channel), "purpose")
        confirmations.require()
        customer = await resolve(ref, who)
        proof = Proof(request.source, request.text_version, who.subject)
        answer = await commands.run(customer, StateConsent({said: "pending"}, proof), key=key)
        expires = expiry(answer["at"], request.expires_in)
        token = confirmations.token(Confirmation(customer, said, answer["at"], request.text_version), expires)
        return {"customer": customer, **_parts(said), "status": answer["consent"][said], "token": token, "expires_at": expires}  # fmt: skip

    return router


def confirmation_routes(commands: Commands, confirmations: Confirmations) -> APIRouter:
    """The route behind the link of double opt-in. It needs no token but the link's own."""
    router = APIRouter(prefix="/v1/consents", tags=["consent"])

    @router.post(
        "/confirm",
        summary="The customer has followed the link: grant what it confirms",
        response_model=answers.Confirmed,
        responses={404: {}, 409: {}},
    )
    async def confirm(link: Link) -> dict[str, Any]:
        """The page behind your link posts the token; not the link itself, because mail scanners open links. Repeating it
        changes nothing."""
        customer, said, requested, version = confirmations.read(link.token)
        command = ConfirmConsent(said, requested, Proof("confirmed link", version))
        answer = await commands.run(customer, command)
        return {**_parts(said), "status": answer["consent"][said]}

    return router


def _joined(purpose: str, channel: str) -> str:
    return key_of(purpose.lower(), channel.lower())


def _key(name: str, at: str) -> str:
    """The key that a name means. Raises Invalid."""
    if (key := read_key(name)) is not None:
        return key
    if name.lower().partition(".")[0] == SERVICE:
        message = f"messages of the purpose {SERVICE} need no consent: leave it out"
    else:
        message = "write a purpose, or purpose.channel: letters, digits, - and _, at most 64 each"
    raise Invalid(f"{name!r} is no purpose: {message}.", errors=[{"at": at, "message": message}])


def _parts(key: str) -> dict[str, str]:
    purpose, channel = parts_of(key)
    return {"purpose": purpose, "channel": channel}


def _said_at(stated: _Stated, who: Principal) -> datetime | None:
    """When it was said; None for now. Raises Invalid."""
    if stated.at is None:
        return None
    if who.customer is not None:
        raise Invalid("A customer's own statement is of now: leave out `at`.")
    if not EARLIEST <= stated.at <= datetime.now(UTC):
        raise Invalid("`at` is when the customer said it: it lies after 1971 and not in the future.")
    return stated.at.astimezone(UTC)
