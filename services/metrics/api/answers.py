"""What the routes about fits, scores and key figures answer. Amounts are in major units."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

Band = Literal["low", "medium", "high"]


class _Fitted(BaseModel):
    """`n` customers were fitted to."""

    standard_errors: dict[str, float]
    log_likelihood: float
    n: int


class Bgnbd(_Fitted):
    """Purchases: while active at a rate that is gamma(r, alpha) per week, leaving after each with a chance beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float


class Gamma(_Fitted):
    """Spend per purchase day: gamma with shape p, its rate gamma(q, gamma) over customers."""

    p: float
    q: float
    gamma: float


class Horizon(BaseModel):
    """For how long scores look ahead, and by how much later spend is discounted."""

    risk_weeks: float
    value_weeks: int
    annual_discount: float


class Fit(BaseModel):
    """Both models as of the end of a day. `scored` customers have a score by it; of `changed` it moved a band."""

    id: UUID
    as_of: date
    currency: str
    status: str = Field(examples=["done"])
    customers: int
    repeat_customers: int
    bgnbd: Bgnbd
    gamma_gamma: Gamma
    horizon: Horizon
    scored: int
    changed: int
    asked_by: str
    created_at: datetime
    done_at: datetime | None


class Fits(BaseModel):
    """A page of fits, the newest first."""

    items: list[Fit]
    next: str | None


class Holdout(BaseModel):
    """Purchase days after a fit, predicted beside actual."""

    fit: UUID
    as_of: date
    until: date
    weeks: float
    customers: int
    predicted: float
    actual: int


class Score(BaseModel):
    """A customer's `risk` (the chance of no order in the next 39 weeks) and `cltv` (their expected, discounted spend of
    the next 12 months); `worth` is what `cltv` would be if we knew that they had not left."""

    customer: UUID
    refs: list[str]
    risk: float
    risk_band: Band
    cltv: float
    value_band: Band
    worth: float
    currency: str
    expected_purchases: float
    purchase_days: int
    first_purchase: date
    last_purchase: date
    fit: UUID
    as_of: date
    explanation: str


class Scores(BaseModel):
    """A page of scores, the highest first."""

    items: list[Score]
    next: str | None


class Totals(BaseModel):
    """Orders and money over all customers; the days are the first and the last with an order."""

    orders: int
    revenue: dict[str, str] = Field(examples=[{"USD": "5993.17"}])
    refunded: dict[str, str]
    aov: dict[str, str]
    customers_with_orders: int
    repeat_customers: int
    repeat_rate: float | None
    first_day: date | None
    last_day: date | None
    timezone: str


class Day(BaseModel):
    """A day's figure: a number, or an amount as text."""

    day: date
    value: int | float | str | None


class Figure(BaseModel):
    """A key figure by day, with what it means; `currency` when it is in one."""

    name: str
    definition: str
    timezone: str
    currency: str | None
    by: str
    start: date = Field(alias="from")
    end: date = Field(alias="to")
    total: int | float | str | None
    items: list[Day]
