"""Customers over REST, through the whole service."""

from typing import Any

import pytest

from tests.integration.profile.service import Profile, event


@pytest.fixture
async def shop(profile: Profile) -> Profile:
    """Profile with ann (who has device a1, merged) and device a2."""
    await profile.tell(
        event("page", device="a1", message="m1", minute=0, properties={"path": "/"}),
        event("track", "ann", message="m2", minute=1),
        event("page", device="a2", message="m3", minute=2),
    )
    order = {"order_id": "o1", "revenue": 12.3, "currency": "EUR"}
    await profile.tell(
        event("identify", "ann", "a1", message="m4", minute=3, traits={"email": "ann@example.org", "old": None}),
        event("track", "ann", "a1", message="m5", minute=4, event="Order Completed", properties=order),
    )
    return profile


async def _items(profile: Profile, path: str, limit: int) -> list[dict[str, Any]]:
    """All pages of a list."""
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await profile.get(path, limit=limit, **({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next"]
    return items


async def test_a_customer_by_every_reference(shop: Profile) -> None:
    ann = await shop.get("customers/user:ann")
    assert (ann["refs"], ann["user_id"]) == (["user:ann", "anon:a1"], "ann")
    assert (ann["traits"], ann["orders"], ann["revenue"]) == ({"email": "ann@example.org"}, 1, {"EUR": "12.30"})
    assert (ann["first_seen"], ann["last_seen"]) == ("2026-03-02T12:00:00Z", "2026-03-02T12:04:00Z")
    assert ann["trait_origins"] == {"email": {"source": "/apps/test", "time": "2026-03-02T12:03:00Z"}}
    assert ann["acquisition"] == {"channel": "direct", "first_touch": None, "last_touch": None}
    (merged,) = ann["merged_from"]
    for ref in ("anon:a1", ann["id"], merged):
        assert await shop.get(f"customers/{ref}") == ann


async def test_the_timeline_spans_who_was_merged_newest_first(shop: Profile) -> None:
    whole = await shop.get("customers/user:ann/timeline")
    assert whole["next"] is None
    names = [item["name"] for item in whole["items"]]
    assert (names[0], names[-2:]) == ("Order Completed", ["Clicked", "Page Viewed"])
    assert set(names[1:4]) == {"Identified", "Customer Merged", "Customer Left"}
    assert whole["items"][0]["data"]["properties"]["order_id"] == "o1"
    assert "customer" not in whole["items"][0]["data"]
    assert whole["items"][-1]["source"] == "/apps/test"
    for limit in (1, 2, 6):
        assert await _items(shop, "customers/user:ann/timeline", limit) == whole["items"]


async def test_the_list_is_paged_and_searched(shop: Profile) -> None:
    everybody = await _items(shop, "customers", 1)
    assert {item["refs"][0] for item in everybody} == {"user:ann", "anon:a2"}
    (found,) = (await shop.get("customers", q="an"))["items"]
    assert found["user_id"] == "ann"
    assert (await shop.get("customers", q="%"))["items"] == []


async def test_the_summary_counts_exactly(shop: Profile) -> None:
    assert await shop.get("customers/summary") == {
        "customers": 2,
        "identified": 1,
        "anonymous": 1,
        "erased": 0,
        "merges": 1,
        "claims": 0,
        "duplicates": 0,
        "events": 5,
        "skipped": 0,
        "duplicates_by_source": {},
        "refused": {},
    }


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("customers/user:nobody", 404),
        ("customers/ann", 422),
        ("customers/018f0000-0000-8000-8000-000000000000", 404),
        ("customers/user:ann/timeline?cursor=%21", 422),
        ("customers/user:ann/timeline?cursor=YWJj", 422),
        ("customers/user:ann%00", 422),
        ("customers?limit=0", 422),
        ("customers?q=%00", 422),
        ("customers?cursor=x", 422),
    ],
)
async def test_what_cannot_be_answered_says_why(shop: Profile, path: str, status: int) -> None:
    assert (await shop.ask("GET", path, status))["detail"]
