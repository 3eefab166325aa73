"""Searches over customers, through the whole service."""

from typing import Any

import pytest

from services.profile import search
from tests.integration.profile.service import Profile, event


def _order(user: str, message: str, revenue: float, minute: int, currency: str = "EUR") -> Any:
    properties = {"order_id": message, "revenue": revenue, "currency": currency}
    return event("track", user, message=message, minute=minute, event="Order Completed", properties=properties)


@pytest.fixture
async def crowd(profile: Profile) -> Profile:
    """Ann (gold), Bob (gold, first seen last), Cleo (blue), and two who only visited."""
    granted = {"consent": {"categoryPreferences": {"marketing.email": True}}}
    await profile.tell(
        event(
            "identify",
            "ann",
            "a1",
            message="i1",
            minute=0,
            traits={"plan": "Gold", "name": "Ann Lee", "email": "Ann@example.org", "seats": 3.0, "beta": True},
            context=granted,
        ),
        event("identify", "bob", message="i2", minute=300, traits={"plan": "gold", "firstName": "Bob", "seats": 30}),
        event("identify", "cleo", message="i3", minute=100, traits={"plan": "blue", "name": "Cleo Annan"}),
        event("page", device="v1", message="p1", minute=200),
        event("page", device="v2", message="p2", minute=250),
        _order("ann", "o1", 10, 400),
        _order("bob", "o2", 50, 310),
        _order("bob", "o3", 5, 320, "USD"),
    )
    return profile


async def _found(profile: Profile, **query: Any) -> list[str]:
    """The first reference of each customer found, over all pages."""
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await profile.get("customers", **query, **({"cursor": cursor} if cursor else {}))
        found += [item["refs"][0].partition(":")[2] for item in page["items"]]
        cursor = page["next"]
    return found


FILTERS: list[tuple[dict[str, str], set[str]]] = [
    ({"trait.plan": "gold"}, {"ann", "bob"}),
    ({"trait.plan": "gold", "trait.seats": "3"}, {"ann"}),
    ({"trait.beta": "true"}, {"ann"}),
    ({"trait.plan": "go"}, set()),
    ({"consent.marketing.email": "granted"}, {"ann"}),
    ({"q": "ann"}, {"ann", "cleo"}),
    ({"q": "lee ann"}, {"ann"}),
    ({"q": "ANN@ex"}, {"ann"}),
    ({"q": "@example.org"}, {"ann"}),
    ({"q": "v"}, {"v1", "v2"}),
    ({"q": "ann", "trait.plan": "blue"}, {"cleo"}),
    ({"q": "_"}, set()),
]
ORDERS = [
    ("first_seen", ["ann", "cleo", "v1", "v2", "bob"]),
    ("-first_seen", ["bob", "v2", "v1", "cleo", "ann"]),
    ("-last_seen", ["ann", "bob", "v2", "v1", "cleo"]),
    ("-orders", ["bob", "ann"]),
    ("-revenue.EUR", ["bob", "ann"]),
    ("revenue.EUR", ["ann", "bob"]),
    ("revenue.USD", ["bob"]),
]


async def test_filters_and_text(crowd: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    for query, found in FILTERS:
        assert set(await _found(crowd, **query)) == found
    monkeypatch.setattr(search, "WIDE", 1)  # filters that two meet are wide now
    for query, found in FILTERS:
        if query in ({"q": "ann"}, {"q": "v"}):
            problem = await crowd.ask("GET", f"customers?q={query['q']}", 422)
            assert "give more of the name" in problem["detail"]
        else:
            assert set(await _found(crowd, **query)) == found


async def test_every_order_page_by_page(crowd: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    for walked, limit in ((1, 50), (2, 1), (2, 2), (2_000, 2)):
        monkeypatch.setattr(search, "WALKED", walked)
        for sort, found in ORDERS:
            assert await _found(crowd, sort=sort, limit=limit) == found
            gold = [name for name in found if name in ("ann", "bob")]
            for wide in (1, 2_000):  # walked, and out of the few who meet it
                monkeypatch.setattr(search, "WIDE", wide)
                assert await _found(crowd, sort=sort, limit=1, **{"trait.plan": "gold"}) == gold


async def test_what_is_found_follows_traits_merges_and_refunds(crowd: Profile) -> None:
    await crowd.tell(event("identify", device="d1", message="i4", minute=1, traits={"name": "Dora", "plan": "red"}))
    assert await _found(crowd, q="dora") == ["d1"]
    await crowd.tell(
        event("identify", "cleo", "d1", message="i5", minute=500, traits={"name": None, "plan": "green"}),
        event("track", "ann", message="r1", minute=600, event="Order Cancelled", properties={"order_id": "o1"}),
    )
    assert await _found(crowd, q="dora") == await _found(crowd, q="annan") == []
    assert await _found(crowd, **{"trait.plan": "red"}) == await _found(crowd, **{"trait.plan": "blue"}) == []
    assert await _found(crowd, **{"trait.plan": "green"}) == ["cleo"]
    assert await _found(crowd, sort="-orders") == ["bob"]
    async with crowd.database.connection() as connection:
        orphans = await connection.fetchval(
            "SELECT count(*) FROM profile.terms t JOIN profile.customers c ON c.id = t.customer"
            " WHERE c.merged_into IS NOT NULL"
        )
    assert orphans == 0


async def test_events_that_change_nothing_searchable_write_no_rows_for_it(crowd: Profile) -> None:
    async def counted() -> int:
        async with crowd.database.connection() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            written: int = await connection.fetchval(
                "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables"
                " WHERE schemaname = 'profile' AND relname IN ('terms', 'ranks')"
            )
        return written

    before = await counted()
    await crowd.tell(
        event("page", "ann", message="p3", minute=410),
        event("identify", "ann", message="i6", minute=411, traits={"plan": "GOLD", "name": "Ann Lee"}),
    )
    assert await counted() == before


async def test_a_search_that_cannot_be_answered_says_what_to_send(profile: Profile) -> None:
    for query in (
        "sort=age",
        "sort=revenue",
        "trait.=x",
        "trait.plan=",
        f"trait.plan={'x' * 101}",
        "consent.marketing=yes",
        "segment=nobody",
        "plan=gold",
        "sort=-orders&cursor=aWR8MHx8eA",
        "&".join(f"trait.t{number}=1" for number in range(11)),
    ):
        assert (await profile.ask("GET", f"customers?{query}", 422))["detail"]
