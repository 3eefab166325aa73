"""What the ledger's routes answer."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class LotLeft(BaseModel):
    """Points credited at once of which some remain."""

    points: int
    remaining: int
    reversed: int
    earned_at: datetime
    rule: str | None = Field(description="null for an adjustment")
    order_id: str | None


class Points(BaseModel):
    """`balance` is `available` less `debt`: points taken back after they were spent. `qualifying` decides the level. `lots` are
    in the order in which they are spent: those that are lost soonest, then the oldest."""

    customer: UUID
    available: int
    debt: int
    balance: int
    qualifying: int
    lots: list[LotLeft]


class Line(BaseModel):
    """A line of a statement. `balance` is the one after it, in the order of `effective_at`."""

    transaction: UUID
    kind: str
    points: int
    balance: int
    rule: str | None
    reason: str | None
    order_id: str | None
    cause: str
    effective_at: datetime
    inserted_at: datetime


class Statement(BaseModel):
    """A page of a statement, the latest first."""

    items: list[Line]
    next: UUID | None


class Adjusted(BaseModel):
    """An adjustment as booked."""

    transaction: UUID
    customer: UUID
    points: int
    reason: str
    balance: int
    effective_at: datetime


class Ledger(BaseModel):
    """The sums over all customers. `sum` is that of all accounts and is zero: `customers` = -`system`."""

    sum: int
    balanced: bool
    customers: int
    system: int
    accounts: dict[str, int]
    issued: int
    reversed: int
    adjusted: int
    expired: int


class Check(BaseModel):
    """The totals beside the sums of all entries."""

    balanced: bool
    unbalanced_transactions: int
    totals: dict[str, int]
    entries: dict[str, int]
