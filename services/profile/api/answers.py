"""The answers of the routes about customers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


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
    segments: dict[str, datetime] = Field(description="the live segments that they are in, and since when")
    standing: Standing
    merged_from: list[UUID]


class Customers(BaseModel):
    """A page of customers, by id."""

    items: list[Customer]
    next: UUID | None


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
