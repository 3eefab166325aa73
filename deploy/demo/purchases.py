"""The demo's purchases: CDNOW's 1/10 sample (Fader & Hardie), 6,919 rows of 2,357 customers, moved in time so that they end yesterday.

The data file comes with the package `lifetimes`, which is not imported. Rows: master id, sample id, date, CDs, dollars.
21 rows are identical to another, so an order's id carries its row number.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import files
from pathlib import Path
from typing import Any, Literal

from deploy.local.errors import LocalError

FIRST = date(1997, 1, 1)
CALIBRATION_END = date(1997, 9, 30)
LAST = date(1998, 6, 30)


@dataclass(frozen=True)
class Order:
    row: int
    customer: int
    day: date
    dollars: str


@dataclass(frozen=True)
class Event:
    """One call of the SDK."""

    kind: Literal["identify", "order"]
    user_id: str | None
    anonymous_id: str | None
    message_id: str
    at: datetime
    properties: dict[str, Any]


def orders() -> list[Order]:
    """All rows, in the order of the file."""
    for file in files("lifetimes") or []:
        if file.name == "CDNOW_sample.txt":
            lines = Path(str(file.locate())).read_text().splitlines()
            rows = [line.split() for line in lines if line.strip()]
            days = [datetime.strptime(row[2], "%Y%m%d").replace(tzinfo=UTC).date() for row in rows]
            return [
                Order(number, int(row[1]), day, row[4])
                for number, (row, day) in enumerate(zip(rows, days, strict=True), start=1)
            ]
    raise LocalError("The demo's purchases are not installed: run `make setup` (they come with the package lifetimes).")


def last_day(home: Path, today: date) -> date:
    """The day that the last purchase is moved to: yesterday at the first run, and the same day in later runs."""
    file = home / "demo.json"
    if file.exists():
        return date.fromisoformat(json.loads(file.read_text())["last_day"])
    day = today - timedelta(days=1)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"last_day": day.isoformat()}))
    return day


def known_before(customer: int) -> bool:
    """Whether the customer has an account before the first order. Of those who first come unknown, these are merged, the others
    claimed."""
    return customer % 20 == 0


def comes_unknown(customer: int) -> bool:
    """Whether the first order comes from a browser without a signed-in user: each tenth customer's."""
    return customer % 10 == 0


def accounts(orders: Sequence[Order], shift: timedelta) -> Iterator[Event]:
    """The identifies of customers with an account before their first order."""
    seen: set[int] = set()
    for order in sorted(orders, key=lambda order: (order.day, order.row)):
        if order.customer not in seen and known_before(order.customer):
            yield _identify(order, shift, None, "account")
        seen.add(order.customer)


def events(orders: Sequence[Order], shift: timedelta, first: date, last: date) -> Iterator[Event]:
    """The events of the shop's app between two days of the original data, in order, stamped 12:00 UTC."""
    seen: set[int] = set()
    for order in sorted(orders, key=lambda order: (order.day, order.row)):
        is_new = order.customer not in seen
        seen.add(order.customer)
        if not first <= order.day <= last:
            continue
        anonymous = f"browser-{order.customer:04}" if comes_unknown(order.customer) else None
        if is_new and anonymous:
            yield _order(order, shift, None, anonymous)
            yield _identify(order, shift, anonymous, "identify")
        else:
            if is_new:
                yield _identify(order, shift, None, "identify")
            yield _order(order, shift, _user(order), anonymous)


def _user(order: Order) -> str:
    return f"cd-{order.customer:04}"


def _noon(order: Order, shift: timedelta) -> datetime:
    return datetime.combine(order.day + shift, time(12), UTC)


def _identify(order: Order, shift: timedelta, anonymous: str | None, what: str) -> Event:
    member = f"{order.customer:04}"
    return Event("identify", _user(order), anonymous, f"{what}-{member}", _noon(order, shift), {"member": member})


def _order(order: Order, shift: timedelta, user: str | None, anonymous: str | None) -> Event:
    properties = {"order_id": f"cdnow-{order.row}", "revenue": float(order.dollars), "currency": "USD"}
    return Event("order", user, anonymous, f"order-{order.row}", _noon(order, shift), properties)
