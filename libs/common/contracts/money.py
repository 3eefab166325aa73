"""Money: integer minor units and an ISO 4217 currency; parsed from decimal text, never from a float."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

#: ISO 4217 currencies whose minor unit is not a hundredth.
EXPONENTS = {
    **dict.fromkeys(
        "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0
    ),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}  # fmt: skip

#: The largest amount, in minor units: it fits a PostgreSQL bigint with room for sums.
LARGEST = 10**15


class Money(NamedTuple):
    """`minor` units (cents) of `currency`."""

    minor: int
    currency: str

    @property
    def major(self) -> Decimal:
        """The amount as people write it: 29.33."""
        return major(self.minor, self.currency)


def currency_code(text: str) -> str:
    """The ISO 4217 code in `text`, in capitals. Raises ValueError when it cannot be one."""
    if len(text) == 3 and text.isascii() and text.isalpha():
        return text.upper()
    raise ValueError(f"{text[:20]!r} is no currency: give its ISO 4217 code, such as USD")


def exponent(currency: str) -> int:
    """How many decimals the currency has (2 unless ISO 4217 says otherwise)."""
    return EXPONENTS.get(currency, 2)


def minor(amount: Decimal, currency: str) -> int:
    """`amount` in minor units, rounded half-even.

    Raises ValueError when it is not a finite number or too large to be money.
    """
    if not amount.is_finite() or abs(amount) > LARGEST:
        raise ValueError(f"{amount} is not an amount of money")
    units = int(amount.scaleb(exponent(currency)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    if abs(units) > LARGEST:
        raise ValueError(f"{amount} {currency} is more than can be booked")
    return units


def major(units: int, currency: str) -> Decimal:
    """Minor units as a decimal in major units, with the currency's number of decimals."""
    return Decimal(units).scaleb(-exponent(currency))
