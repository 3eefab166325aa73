"""What metrics hears of a customer. Days are days of the workspace's zone."""

from datetime import date

import msgspec

from libs.common.contracts.orders import Back


class Ordered(msgspec.Struct, frozen=True):
    """An order was completed, for `minor` units of `currency` (0 when nothing said its amount)."""

    order: str
    day: date
    minor: int
    currency: str


class Refunded(msgspec.Struct, frozen=True):
    """An order, or a part of it, was given back; `refund` is what that is counted by."""

    order: str
    refund: str
    day: date
    back: Back


class Cancelled(msgspec.Struct, frozen=True):
    """An order was called off."""

    order: str
    day: date


class Active(msgspec.Struct, frozen=True):
    """The customer did anything else."""

    day: date


class Scored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a fit says of a customer: the body of the command that scores them, and what their state remembers.

    `fit_number` orders fits as of the same day. Risk is the chance of no purchase in HORIZON_WEEKS; `cltv`, and `worth`,
    what it would be if they were known to stay, are major units of `currency` in the next 12 months. `x`, `first` and
    `last` are the purchase days that the fit knew of.
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
        """Of two scores the one with the higher precedence holds: as of the later day, else of the later fit."""
        return self.as_of, self.fit_number

    @property
    def bands(self) -> tuple[str, str, str]:
        """What makes news when it changes."""
        return self.risk_band, self.value_band, self.currency


#: Causes that may change what a customer bought.
PURCHASES = (Ordered, Refunded, Cancelled)
