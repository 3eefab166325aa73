"""What a developer should know of an order, a refund, or an event that was perhaps meant as one."""

import difflib
from functools import lru_cache

import msgspec

from libs.common.contracts import orders
from libs.common.contracts.events import ClientEvent

#: The e-commerce events of Segment's specification.
KNOWN_EVENTS = frozenset(
    (
        *("Products Searched", "Product List Viewed", "Product List Filtered", "Promotion Viewed", "Promotion Clicked"),
        *("Product Clicked", "Product Viewed", "Product Added", "Product Removed", "Cart Viewed", "Checkout Started"),
        *("Checkout Step Viewed", "Checkout Step Completed", "Payment Info Entered", "Order Updated", *orders.EVENTS),
        *("Coupon Entered", "Coupon Applied", "Coupon Denied", "Coupon Removed", "Product Added to Wishlist"),
        *("Product Removed from Wishlist", "Wishlist Product Added to Cart", "Product Shared", "Cart Shared"),
        *("Product Reviewed",),
    )
)
#: The properties of orders and refunds that are read, and those that Segment's specification has besides.
READ = frozenset(orders.OrderProperties.__struct_fields__)
KNOWN_PROPERTIES = READ | {"checkout_id", "affiliation", "subtotal", "value", "shipping", "tax", "discount", "coupon"}
_ALIKE = 0.85
_LENGTHS = 3


def order_warnings(event: ClientEvent) -> list[str]:
    """Warnings about a track event; most have none, and cost the look at their name."""
    name = event.event or ""
    if name in orders.EVENTS:
        return [*_misnamed(event.properties), *_doubts(event)]
    if name not in KNOWN_EVENTS and (known := nearest_event(name)) is not None:
        return [f"the event {name[:40]!r} is not known: was {known!r} meant?"]
    return []


def _squeezed(name: str) -> str:
    return "".join(letter for letter in name[:60].casefold() if letter.isalnum())


_EVENTS = {_squeezed(name): name for name in sorted(KNOWN_EVENTS)}
_ORDERS = {_squeezed(name): name for name in sorted(orders.EVENTS)}
_PROPERTIES = {_squeezed(name): name for name in sorted(READ)}


@lru_cache(maxsize=4096)
def nearest_event(name: str) -> str | None:
    """The known event that `name` is but for case and punctuation; of those about orders, also with a typing error."""
    return _EVENTS.get(_squeezed(name)) or _nearest(_squeezed(name), _ORDERS)


@lru_cache(maxsize=4096)
def nearest_property(name: str) -> str | None:
    """The property of an order that `name` is but for case, punctuation and a typing error."""
    return _PROPERTIES.get(_squeezed(name)) or _nearest(_squeezed(name), _PROPERTIES)


def _nearest(squeezed: str, known: dict[str, str]) -> str | None:
    """As comparing costs much, only names of about the same length with the same first letter are compared."""
    alike = [each for each in known if each[0] == squeezed[:1] and abs(len(each) - len(squeezed)) <= _LENGTHS]
    found = difflib.get_close_matches(squeezed, alike, 1, _ALIKE) if alike else []
    return known[found[0]] if found else None


def _misnamed(properties: dict[str, object]) -> list[str]:
    if properties.keys() <= KNOWN_PROPERTIES:
        return []
    return [
        f"the property {name[:40]!r} is not read: was {known!r} meant?"
        for name in sorted(properties.keys() - KNOWN_PROPERTIES)
        if (known := nearest_property(name)) is not None and known not in properties
    ]


def _doubts(event: ClientEvent) -> list[str]:
    """What of an order or a refund cannot be read, or will not count as it may have been meant."""
    name = event.event
    try:
        sent = {"event": name, "currency": event.currency, "properties": event.properties}
        written = orders.decode(msgspec.json.encode(sent))
        meant = orders.meaning(written, "")
        amount = written.properties.amount
    except ValueError as error:
        hint = f": {WRITE}" if isinstance(error, msgspec.DecodeError) else ""
        return [f"the amount of this {name} cannot be read ({error}): it will wait among the dead letters{hint}"]
    found = _grouped(event.properties)
    match meant:
        case orders.OrderCompleted(money=None):
            found.append("no revenue, total or products: the order counts with no amount")
        case orders.OrderCompleted() if amount is not None and amount < 0:
            found.append("the amount is below zero, and counts as zero: what was paid back is an Order Refunded")
        case orders.OrderRefunded(order_id=None) | orders.OrderCancelled(order_id=None):
            found.append(f"no order_id: this {name} changes no order")
        case orders.OrderRefunded(refund_id=id, back=back):
            if amount is not None and amount < 0:
                found.append("the amount of a refund is written without a minus: this one counts without it")
            if not id and back is not None:
                found.append("no refund_id or return_id: sent again under another messageId, this refund counts twice")
    return found


#: How an amount is written.
WRITE = "write an amount as a number without separators, such as 1250.00"


def _grouped(properties: dict[str, object]) -> list[str]:
    for name in ("revenue", "total"):
        value = properties.get(name)
        if isinstance(value, str) and "," in value:
            return [f"{name} {value[:40]!r} was taken for {value.replace(',', '').strip()[:40]}: {WRITE}"]
    return []
