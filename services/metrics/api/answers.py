"""The answers about fits, scores and key figures. Amounts are in major units."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field

Band = Literal["low", "medium", "high"]


class _Fitted(BaseModel):
    """A model fitted to `n` customers."""

    standard_errors: dict[str, float]
    log_likelihood: float
    n: int


class Bgnbd(_Fitted):
    """Purchases: an active customer buys at a weekly rate ~ gamma(r, alpha), and leaves after each with chance ~ beta(a, b)."""

    r: float
    alpha: float
    a: float
    b: float


class Gamma(_Fitted):
    """Spend on a purchase day: gamma with shape p and a rate ~ gamma(q, gamma) over customers."""

    p: float
    q: float
    gamma: float


class Horizon(BaseModel):
    """The period that scores cover, and the discount on later spend."""

    risk_weeks: float
    value_weeks: int
    annual_discount: float


class Fit(BaseModel):
    """Both models as of the end of a day. The fit has given `scored` customers a score, and `changed` of them another band."""

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
    """Purchase days after a fit, predicted and actual."""

    fit: UUID
    as_of: date
    until: date
    weeks: float
    customers: int
    predicted: float
    actual: int


class Score(BaseModel):
    """A customer's `risk` (the chance of no order in the next 39 weeks), `cltv` (the expected, discounted spend of the next
    12 months) and `worth` (the `cltv` of a customer who is known to stay)."""

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
    """Orders and money over all customers, and the first and the last day with an order."""

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
    """A key figure by day, with its definition; `currency` if it is in one."""

    name: str
    definition: str
    timezone: str
    currency: str | None
    by: str
    start: date = Field(alias="from")
    end: date = Field(alias="to")
    total: int | float | str | None
    items: list[Day]
