"""What the routes about customers answer."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field


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


class Summary(BaseModel):
    """Totals over all customers. `claims` are anonymous customers who got a userId, `merges` those who turned out to be
    another; `skipped` records were of a type that is not known; `refused` counts what a customer's limits kept out."""

    customers: int
    identified: int
    anonymous: int
    merges: int
    claims: int
    duplicates: int
    events: int
    skipped: int
    duplicates_by_source: dict[str, int]
    refused: dict[str, int]
