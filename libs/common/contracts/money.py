"""Money: integer minor units and an ISO 4217 currency; parsed from decimal text, never from a float."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

#: ISO 4217's currencies (SIX, list one; funds included, metals and test codes not), and those withdrawn since 1999, which
#: imports of history name.
CURRENCIES = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW
    CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL
    HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA
    MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD
    RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    ADP AFA ANG ATS AZM BEF BGN BYB BYR CSD CUC CYP DEM EEK ESP FIM FRF GHC GRD HRK IEP ITL LTL LUF LVL MGF MRO MTL MXV
    MZM NLG PTE ROL RUR SDD SIT SKK SLL SRG STD TMM TPE TRL UAK VEB VEF YUM ZMK ZWD ZWL ZWN ZWR
    """.split()
)

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
    """The ISO 4217 code in `text`, in capitals. Raises ValueError, which names it, when it is none."""
    if text in CURRENCIES:
        return text
    if (code := text.upper()) in CURRENCIES and len(text) == 3:
        return code
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
