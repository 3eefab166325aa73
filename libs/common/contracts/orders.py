"""Orders and refunds as Segment's e-commerce events say them. The only place that reads them: all services agree.

- The amount is `revenue`, else `total`, else the sum of the products' price × quantity. An order's currency is its own,
  else the source's default; its amount below zero counts as zero.
- An order counts once by its order id, else by its messageId.
- A refund's amount is read likewise, whatever its sign; without an amount it is of the whole order. Without a currency it
  is in its order's. It counts once by its `refund_id` or `return_id`, else by its record's id.
- A refund or a cancellation that names no order changes nothing.
- An order that was cancelled does not count any more.
"""

import re
from decimal import Decimal
from typing import Any, TypeAlias

import msgspec

from libs.common.contracts.money import LARGEST, Money, currency_code, minor

COMPLETED = "Order Completed"
REFUNDED = "Order Refunded"
CANCELLED = "Order Cancelled"
EVENTS = frozenset((COMPLETED, REFUNDED, CANCELLED))

#: What was given back: money; or an amount in major units of the order's currency; or (None) the whole order.
Back: TypeAlias = Money | Decimal | None

#: The largest refund without a currency, in major units: no currency has more than four decimals.
_LARGEST_BARE = LARGEST // 10**4
_GROUPED = re.compile(r"\s*[+-]?\d{1,3}(,\d{3})+\.\d+\s*")


class OrderCompleted(msgspec.Struct, frozen=True):
    """An order was placed. No money: of unknown value."""

    order_id: str
    money: Money | None
    currency: str


class OrderRefunded(msgspec.Struct, frozen=True):
    """An order was given back, or a part of it. `refund_id` is what the refund is counted by."""

    order_id: str | None
    refund_id: str
    back: Back


class OrderCancelled(msgspec.Struct, frozen=True):
    """An order was called off."""

    order_id: str | None


OrderEvent: TypeAlias = OrderCompleted | OrderRefunded | OrderCancelled


class Product(msgspec.Struct):
    price: Decimal = Decimal(0)
    quantity: Decimal = Decimal(1)


class OrderProperties(msgspec.Struct):
    """The properties that are read; others are ignored."""

    order_id: str | int | None = None
    refund_id: str | int | None = None
    return_id: str | int | None = None
    revenue: Decimal | None = None
    total: Decimal | None = None
    currency: str | None = None
    products: list[Product] | None = None

    @property
    def order(self) -> str | None:
        """The order's id as text, None when there is none."""
        return _text(self.order_id)

    @property
    def refund(self) -> str | None:
        """The refund's own id as text, None when there is none."""
        return _text(self.refund_id) or _text(self.return_id)

    @property
    def amount(self) -> Decimal | None:
        """What was paid (or given back) in major units, with its sign; None when nothing says."""
        for stated in (self.revenue, self.total):
            if stated is not None:
                return stated
        if self.products:
            return sum((product.price * product.quantity for product in self.products), Decimal(0))
        return None


class Written(msgspec.Struct):
    """The part of an event's `data` that is read, as it was sent."""

    event: str = ""
    messageId: str = ""
    currency: str = "USD"
    properties: OrderProperties = msgspec.field(default_factory=OrderProperties)


_decode = msgspec.json.Decoder(Written).decode
_decode_loosely = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


def decode(data: bytes | msgspec.Raw) -> Written:
    """An order event as it was sent; `"1,250.00"` is taken for 1250. Raises msgspec.DecodeError when a field has a type that
    it cannot have."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        if b"," not in (raw := bytes(data)):
            raise
        mended = _decode_loosely(raw)
        if not _ungroup(mended.get("properties")):
            raise
        return msgspec.convert(mended, Written)


def read(data: bytes | msgspec.Raw, record: str) -> OrderEvent:
    """What one of EVENTS says; `record` is its record's id. Raises ValueError (msgspec.DecodeError is one) when its amount or
    its currency is none."""
    return meaning(decode(data), record)


def meaning(written: Written, record: str) -> OrderEvent:
    """What a decoded order event says. Raises ValueError when its amount or its currency is none."""
    properties = written.properties
    order = properties.order
    if written.event == CANCELLED:
        return OrderCancelled(order)
    try:
        amount = properties.amount
    except ArithmeticError as error:
        raise ValueError("the sum of the products is not an amount of money") from error
    if written.event == COMPLETED:
        currency = currency_code(properties.currency or written.currency)
        money = None if amount is None else Money(max(minor(amount, currency), 0), currency)
        return OrderCompleted(order or f"message:{written.messageId}", money, currency)
    return OrderRefunded(order, properties.refund or record, _back(amount, properties.currency))


def in_currency(back: Back, currency: str) -> int | None:
    """How much was given back of an order in `currency`, in minor units; 0 in another one, None for all of it. Total."""
    if back is None:
        return None
    if isinstance(back, Money):
        return back.minor if back.currency == currency else 0
    return minor(back, currency)


def larger(one: Back, other: Back) -> Back:
    """Which of two amounts counts that were stated of one refund; the same whichever was stated first."""
    return max(one, other, key=_extent)


def united(one: dict[str, Back], other: dict[str, Back]) -> dict[str, Back]:
    """The refunds of an order by their ids, known from two sides: each once."""
    refunds = dict(one)
    for id, back in other.items():
        refunds[id] = larger(refunds[id], back) if id in refunds else back
    return refunds


def _back(amount: Decimal | None, currency: str | None) -> Back:
    code = currency_code(currency) if currency else None
    if amount is None:
        return None
    if code is not None:
        return Money(abs(minor(amount, code)), code)
    if not amount.is_finite() or abs(amount) > _LARGEST_BARE:
        raise ValueError(f"{amount} is not an amount of money")
    return abs(amount)


def _extent(back: Back) -> tuple[bool, Decimal, str]:
    if back is None:
        return True, Decimal(0), ""
    return (False, back.major, back.currency) if isinstance(back, Money) else (False, back, "")


def _text(id: str | int | None) -> str | None:
    return None if id is None or id == "" else str(id)


def _ungroup(properties: Any) -> bool:
    """Take the thousands separators out of the amounts; whether there were any."""
    if not isinstance(properties, dict):
        return False
    products = properties.get("products")
    found = False
    for holder in (properties, *(products if isinstance(products, list) else ())):
        for name in ("revenue", "total", "price") if isinstance(holder, dict) else ():
            if isinstance(text := holder.get(name), str) and _GROUPED.fullmatch(text):
                holder[name], found = text.strip().replace(",", ""), True
    return found
