"""Refunds whose order their customer does not have are listed, with whose it may be."""

from datetime import UTC, timedelta
from typing import Any

from libs.common.db.pool import Database
from libs.common.settings import Settings
from services.profile.handler import Profile
from tests.integration.profile.said import NOON, apply, batch_of, home, said
from tests.integration.profile.test_rest import serving

MONEY = {"revenue": 50, "currency": "EUR"}


def order(who: str, id: str, **properties: Any) -> Any:
    return said("track", who, message=f"{who}-{id}", event="Order Completed", properties={"order_id": id, **properties})


def refund(who: str, id: str, minute: int = 1, **properties: Any) -> Any:
    properties = {"order_id": id, **properties}
    return said(
        "track", who, message=f"r-{who}-{id}-{minute}", minute=minute, event="Order Refunded", properties=properties
    )


async def tell(database: Database, *events: Any) -> None:
    profile = Profile(UTC)
    for place, event in enumerate(events):
        await apply(database, profile, batch_of(home("k"), [event], place))


async def test_they_are_listed_until_their_order_comes(settings: Settings, database: Database) -> None:
    await tell(
        database,
        order("ann", "o1", **MONEY),
        refund("agent", "o1", revenue=5, currency="EUR", refund_id="r1"),
        refund("agent", "o1", minute=2, revenue=7, refund_id="r2"),
        refund("ben", "o2", minute=3),
        refund("ann", "o1", minute=4, revenue=1, currency="EUR"),
    )
    async with serving(settings) as client:
        answer = (await client.get("/v1/refunds/waiting")).json()
        ann = (await client.get("/v1/customers/user:ann")).json()
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
            {
                "customer": ann["id"],
                "user_id": "ann",
                "amount": "50.00",
                "currency": "EUR",
                "time": "2026-03-02T12:00:00Z",
            }
        ]
        page = (await client.get("/v1/refunds/waiting", params={"limit": 1})).json()
        assert page["items"] == [of_ben]
        rest = (await client.get("/v1/refunds/waiting", params={"limit": 1, "cursor": page["next"]})).json()
        assert (rest["items"], rest["next"]) == ([of_agent], None)
        assert (await client.get("/v1/refunds/waiting", params={"cursor": "x"})).status_code == 422
        assert ann["revenue"] == {"EUR": "49.00"}
        profile = Profile(UTC)
        await apply(database, profile, batch_of(home("k"), [order("ben", "o2", **MONEY)], 9))
        assert (await client.get("/v1/refunds/waiting")).json()["items"] == [of_agent]


async def test_a_merge_takes_them_along(settings: Settings, database: Database) -> None:
    await tell(
        database,
        said("track", None, "a1", message="a", event="Order Refunded", properties={"order_id": "o9", "revenue": 3}),
        said("identify", "ann", message="b"),
        said("identify", "ann", "a1", message="c"),
    )
    async with serving(settings) as client:
        (waiting,) = (await client.get("/v1/refunds/waiting")).json()["items"]
    assert (waiting["user_id"], waiting["order_id"]) == ("ann", "o9")
