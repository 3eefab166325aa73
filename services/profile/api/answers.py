"""The answers of the routes about customers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.consent import Status
from libs.common.contracts.profile import RelationshipKind
from services.profile.domain.journey import Stage
from services.profile.domain.touch import Channel

_CONSENT = Field(
    description="what they allow, by purpose (`marketing`) and by purpose and channel (`marketing.email`)",
    examples=[{"marketing": "granted", "marketing.sms": "denied"}],
)


class Standing(BaseModel):
    """Points, level, and the bands of risk and value, as far as profile has heard of them; the other services know best."""

    model_config = ConfigDict(from_attributes=True)

    points: int
    level: str | None
    risk_band: str | None
    value_band: str | None


class Customer(BaseModel):
    """A customer. `revenue` is what is left after refunds, in major units of each currency; `orders` leaves out those
    cancelled; `merged_from` are the ids of customers who turned out to be this one."""

    id: UUID
    user_id: str | None
    refs: list[str] = Field(examples=[["user:ann", "anon:a1"]])
    traits: dict[str, Any]
    orders: int
    revenue: dict[str, str] = Field(examples=[{"USD": "29.33"}])
    first_seen: datetime | None
    last_seen: datetime | None
    computed_traits: dict[str, Any] = Field(description="the values of live computed traits")
    segments: dict[str, datetime] = Field(description="the live segments that they are in, and since when")
    standing: Standing
    channel: Channel = Field(description="through which they were acquired: the channel of their first visit")
    stage: Stage = Field(description="of their journey, now")
    consent: dict[str, Status] = _CONSENT
    merged_from: list[UUID]


class Origin(BaseModel):
    """Where a trait's value comes from, and since when it holds."""

    source: str = Field(examples=["/apps/shop-web"])
    time: datetime


class Touch(BaseModel):
    """When and through what a customer came: the campaign (UTM) or the referrer's host. Empty texts were not sent."""

    time: datetime
    channel: Channel
    source: str = Field(examples=["google"])
    medium: str = Field(examples=["cpc"])
    campaign: str = Field(examples=["spring"])
    referrer: str = Field(examples=["news.example.org"])


class Acquisition(BaseModel):
    """How a customer came. Touches are campaigns and referrers of other sites; who came without any came directly."""

    channel: Channel
    first_touch: Touch | None
    last_touch: Touch | None


class Relationship(BaseModel):
    """What the relationship with a customer is based on, and why. `set_by` and `set_at` are null if it was derived."""

    kind: RelationshipKind
    reason: str = Field(examples=["has the level Gold"])
    set_by: str | None
    set_at: datetime | None


class Deselection(BaseModel):
    """Why, since when and by whom marketing is stopped."""

    reason: str
    since: datetime
    by: str


class CustomerInFull(Customer):
    """A customer, with the origin of each trait and how they came. `trait_groups` has the traits in the groups that the
    workspace declares."""

    trait_origins: dict[str, Origin]
    trait_groups: dict[str, dict[str, Any]] = Field(examples=[{"demographics": {"age": 30}, "preferences": {}}])
    relationship: Relationship
    deselection: Deselection | None = Field(description="null: they get marketing, as far as they consent")
    acquisition: Acquisition


class Customers(BaseModel):
    """A page of customers. It may have fewer items than `limit`, even none, and yet a `next`: the list goes on there."""

    items: list[Customer]
    next: str | None


class Item(BaseModel):
    """An event of an app (`source` is `/apps/…`) or a fact of a service that followed from it (`cause` is its record)."""

    id: str
    type: str = Field(examples=["track.v1"])
    name: str = Field(examples=["Order Completed"])
    time: datetime = Field(description="when it happened")
    received: datetime
    source: str = Field(examples=["/apps/shop-web"])
    cause: str | None
    data: dict[str, Any]


class Timeline(BaseModel):
    """A page of a timeline, the newest first."""

    items: list[Item]
    next: str | None


class OrderFound(BaseModel):
    """An order with the same id, of another customer."""

    customer: UUID
    user_id: str | None
    amount: str | None = Field(description="in major units; null when it named none", examples=["29.33"])
    currency: str
    time: datetime = Field(description="when it was placed")


class RefundBack(BaseModel):
    """What a refund gives back, in major units; `amount` is null for the whole order, `currency` for the order's own."""

    refund_id: str
    amount: str | None = Field(examples=["5.00"])
    currency: str | None


class WaitingRefund(BaseModel):
    """Refunds of an order that their customer does not have, or its cancellation (`cancelled`), with the customers
    who have such an order."""

    customer: UUID
    user_id: str | None
    order_id: str
    since: datetime = Field(description="when the first of them happened")
    refunds: list[RefundBack]
    cancelled: bool
    orders: list[OrderFound] = Field(description="at most five")


class Waiting(BaseModel):
    """A page of refunds that wait for their order, the latest first."""

    items: list[WaitingRefund]
    next: str | None


class Note(BaseModel):
    """What somebody wrote on a customer."""

    id: UUID
    text: str
    by: str = Field(description="the subject of the token")
    at: datetime


class Notes(BaseModel):
    """A page of notes, the newest first."""

    items: list[Note]
    next: str | None


class Summary(BaseModel):
    """Totals over all customers. `claims` counts anonymous customers who got a userId, `merges` customers merged
    into another. The totals still count customers who were `erased`. `skipped` counts records of an unknown type, `refused`
    what a customer's limits refused."""

    customers: int
    identified: int
    anonymous: int
    erased: int
    merges: int
    claims: int
    duplicates: int
    events: int
    skipped: int
    duplicates_by_source: dict[str, int]
    refused: dict[str, int]


class Proof(BaseModel):
    """Who said it, where and when: `record` is the event or command, `by` the subject of the token that sent it. `carried`
    is true for a setting that an app sent along with another event."""

    at: datetime = Field(description="when it was said")
    recorded_at: datetime
    source: str = Field(examples=["preference page"])
    text_version: str | None = Field(examples=["2026-03"])
    by: str | None
    record: UUID
    carried: bool


class Consent(BaseModel):
    """What holds for a purpose on a channel (or `all`). `proof` is the latest statement that says so; null if it follows
    from a later one about all channels."""

    purpose: str = Field(examples=["marketing"])
    channel: str = Field(examples=["email"])
    status: Status
    proof: Proof | None


class Consents(BaseModel):
    """All consents of a customer."""

    customer: UUID
    items: list[Consent]


class Said(Proof):
    """A statement about a purpose."""

    channel: str
    status: Status


class ConsentHistory(BaseModel):
    """What holds `now` for a purpose, and a page of all statements about it, the latest first."""

    customer: UUID
    purpose: str
    now: list[Consent]
    items: list[Said]
    next: str | None


class Consented(BaseModel):
    """What a customer allows after a statement."""

    customer: UUID
    consent: dict[str, Status] = _CONSENT


class Requested(BaseModel):
    """The customer confirms with `token`: put it into the link that you send them."""

    customer: UUID
    purpose: str
    channel: str
    status: Status
    token: str
    expires_at: datetime


class Confirmed(BaseModel):
    """What the link confirmed."""

    purpose: str
    channel: str
    status: Status
