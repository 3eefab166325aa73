"""The inputs of metrics: what a customer did, and the score that a fit gives them. Days are in the workspace's zone."""

from datetime import date

import msgspec

from libs.common.contracts.orders import Back


class Ordered(msgspec.Struct, frozen=True):
    """An order was completed, for `minor` units of `currency` (0 if the event names no amount)."""

    order: str
    day: date
    minor: int
    currency: str


class Refunded(msgspec.Struct, frozen=True):
    """An order, or a part of it, was refunded. A refund counts once by its id, `refund`."""

    order: str
    refund: str
    day: date
    back: Back


class Cancelled(msgspec.Struct, frozen=True):
    """An order was cancelled."""

    order: str
    day: date


class Active(msgspec.Struct, frozen=True):
    """The customer did anything else."""

    day: date


class Scored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The score command: the score that a fit gives a customer, which their state then holds.

    `fit_number` orders fits as of the same day. Risk is the chance of no purchase in HORIZON_WEEKS. `cltv` is in major
    units of `currency` over the next 12 months; `worth` is the `cltv` of a customer known to stay. `x`, `first` and
    `last` describe the purchase days that the fit included.
    """

    fit: str
    fit_number: int
    as_of: date
    currency: str
    risk: float
    risk_band: str
    cltv: float
    value_band: str
    worth: float
    expected_purchases: float
    x: int
    first: date
    last: date

    @property
    def precedence(self) -> tuple[date, int]:
        """The score with the higher precedence replaces the other: the later day, then the later fit."""
        return self.as_of, self.fit_number

    @property
    def bands(self) -> tuple[str, str, str]:
        """A change of these is a fact."""
        return self.risk_band, self.value_band, self.currency


#: The inputs that may change purchases.
PURCHASES = (Ordered, Refunded, Cancelled)
