"""Refunds whose order their customer does not have are listed, with whose it may be."""

from datetime import timedelta
from typing import Any

from libs.common.log.append import Outgoing
from tests.integration.profile.service import NOON, Profile, event

MONEY = {"revenue": 50, "currency": "EUR"}


def order(who: str, id: str, **properties: Any) -> Outgoing:
    return event(
        "track", who, message=f"{who}-{id}", event="Order Completed", properties={"order_id": id, **properties}
    )


def refund(who: str, id: str, minute: int = 1, **properties: Any) -> Outgoing:
    properties = {"order_id": id, **properties}
    message = f"r-{who}-{id}-{minute}"
    return event("track", who, message=message, minute=minute, event="Order Refunded", properties=properties)


async def test_they_are_listed_until_their_order_comes(profile: Profile) -> None:
    await profile.tell(
        order("ann", "o1", **MONEY),
        refund("agent", "o1", revenue=5, currency="EUR", refund_id="r1"),
        refund("agent", "o1", minute=2, revenue=7, refund_id="r2"),
        refund("ben", "o2", minute=3),
        refund("ann", "o1", minute=4, revenue=1, currency="EUR"),
    )
    answer, ann = await profile.get("refunds/waiting"), await profile.get("customers/user:ann")
    assert answer["next"] is None
    of_ben, of_agent = answer["items"]
    assert (of_ben["user_id"], of_ben["order_id"], of_ben["orders"]) == ("ben", "o2", [])
    assert of_ben["refunds"] == [{"refund_id": of_ben["refunds"][0]["refund_id"], "amount": None, "currency": None}]
    assert of_agent["user_id"] == "agent"
    assert of_agent["since"] == (NOON + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    assert of_agent["refunds"] == [
        {"refund_id": "r1", "amount": "5.00", "currency": "EUR"},
        {"refund_id": "r2", "amount": "7", "currency": None},
    ]
    assert of_agent["orders"] == [
        {"customer": ann["id"], "user_id": "ann", "amount": "50.00", "currency": "EUR", "time": "2026-03-02T12:00:00Z"}
    ]
    page = await profile.get("refunds/waiting", limit=1)
    assert page["items"] == [of_ben]
    rest = await profile.get("refunds/waiting", limit=1, cursor=page["next"])
    assert (rest["items"], rest["next"]) == ([of_agent], None)
    assert ann["revenue"] == {"EUR": "49.00"}
    await profile.tell(order("ben", "o2", **MONEY))
    assert (await profile.get("refunds/waiting"))["items"] == [of_agent]


async def test_what_is_no_cursor_is_refused(profile: Profile) -> None:
    for cursor in ("x", "MXwy", "LTF8MDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwfGE"):
        await profile.ask("GET", "refunds/waiting", 422, params={"cursor": cursor})


async def test_a_merge_takes_them_along(profile: Profile) -> None:
    await profile.tell(
        event("track", None, "a1", message="a", event="Order Refunded", properties={"order_id": "o9", "revenue": 3}),
        event("identify", "ann", message="b"),
        event("identify", "ann", "a1", message="c"),
    )
    (waiting,) = (await profile.get("refunds/waiting"))["items"]
    assert (waiting["user_id"], waiting["order_id"]) == ("ann", "o9")
