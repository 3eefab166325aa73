"""Orders and refunds as Segment's e-commerce events say them, read alike by every service.

The amount of an order is its `revenue`, else its `total`, else the sum of its products' price × quantity; that of a
refund likewise; a refund without any amount is of the whole order, and so is a cancellation, after which the order does
not count any more. Without a currency it is the source's default.
An order counts once per (customer, order id), else by its messageId.
"""

from decimal import Decimal

import msgspec

from libs.common.contracts.money import Money, currency_code, minor

COMPLETED = "Order Completed"
REFUNDED = "Order Refunded"
CANCELLED = "Order Cancelled"


class Product(msgspec.Struct):
    price: Decimal = Decimal(0)
    quantity: Decimal = Decimal(1)


class OrderProperties(msgspec.Struct):
    """The properties of an order or refund that are read; others are ignored. A wrong type is a DecodeError."""

    order_id: str | int | None = None
    revenue: Decimal | None = None
    total: Decimal | None = None
    currency: str | None = None
    products: list[Product] | None = None

    def amount(self) -> Decimal | None:
        """What was paid (or paid back) in major units; None when nothing says."""
        for stated in (self.revenue, self.total):
            if stated is not None:
                return stated
        if self.products:
            return sum((product.price * product.quantity for product in self.products), Decimal(0))
        return None


class OrderEvent(msgspec.Struct):
    """The narrow view of an order's or refund's `data`."""

    event: str = ""
    messageId: str = ""
    currency: str = "USD"
    properties: OrderProperties = msgspec.field(default_factory=OrderProperties)

    @property
    def order(self) -> str:
        """The order's id, else the message's: what an order is counted by."""
        stated = self.properties.order_id
        return str(stated) if stated not in (None, "") else f"message:{self.messageId}"

    @property
    def money(self) -> Money | None:
        """The amount in minor units, or None when nothing says. Raises ValueError when amount or currency is none."""
        currency = currency_code(self.properties.currency or self.currency)
        amount = self.properties.amount()
        return None if amount is None else Money(minor(amount, currency), currency)


_decoder = msgspec.json.Decoder(OrderEvent)


def decode_order(data: bytes | msgspec.Raw) -> OrderEvent:
    """The order in a record's `data`. Raises msgspec.DecodeError when a field has a type that it cannot have."""
    return _decoder.decode(data)
