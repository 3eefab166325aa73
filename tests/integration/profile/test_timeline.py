"""A timeline's filters, and its stream."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.profile import timeline
from tests.integration.profile.service import Profile, event
from tests.integration.triggers.following import Event, followed


async def _names(profile: Profile, path: str = "customers/user:ann/timeline", **query: Any) -> list[str]:
    """The names of all entries, over all pages."""
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await profile.get(path, **query, **({"cursor": cursor} if cursor else {}))
        assert len(page["items"]) <= query["limit"]
        names += [item["name"] for item in page["items"]]
        cursor = page["next"]
    return names


async def test_entries_are_filtered_by_kind_and_name(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    await profile.tell(
        event("page", device="a1", message="m1"),
        event("track", "ann", message="m2", minute=1, event="Bought"),
    )
    await profile.tell(
        *(event("track", "ann", message=f"c{number}", minute=2 + number) for number in range(6)),
        event("track", "ann", "a1", message="m3", minute=20, event="Bought"),
    )
    monkeypatch.setattr(timeline, "_CHUNK", 2)
    for looked_at in (1, 3, 1_000):
        monkeypatch.setattr(timeline, "LOOKED_AT", looked_at)
        for limit in (1, 2, 50):
            assert set(await _names(profile, limit=limit, kind="fact")) == {"Customer Merged", "Customer Left"}
            assert await _names(profile, limit=limit, name="Bought") == ["Bought", "Bought"]
            assert await _names(profile, limit=limit, kind="fact", name="Bought") == []
            mixed = await _names(profile, limit=limit, name=["Bought", "Page Viewed"])
            assert mixed == ["Bought", "Bought", "Page Viewed"]
            assert len(await _names(profile, limit=limit)) == 11
    assert (await profile.ask("GET", "customers/user:ann/timeline?kind=message", 422))["detail"]


async def _next(stream: AsyncIterator[Event]) -> Event:
    return await anext(stream)


async def test_a_stream_brings_new_entries_resumes_and_follows_a_merge(profile: Profile) -> None:
    await profile.tell(event("track", "ann", message="m1"), event("page", device="a1", message="m2"))

    async def ticket(ref: str) -> str:
        return str((await profile.ask("POST", f"customers/{ref}/timeline/stream/tickets", 201))["ticket"])

    path = "/v1/customers/user:ann/timeline/stream"
    async with followed(profile.client, f"{path}?ticket={await ticket('user:ann')}") as stream:
        ready = await _next(stream)
        assert ready.name == "ready"
        await profile.tell(
            event("track", "ann", message="m3", minute=-5, event="Late"),
            event("track", "bob", message="m4"),
            event("track", "ann", message="m5", event="Bought"),
        )
        late, bought = await _next(stream), await _next(stream)
        assert [each.data["name"] for each in (late, bought)] == ["Late", "Bought"]
        assert "customer" not in bought.data["data"]

    path = "/v1/customers/anon:a1/timeline/stream?name=Bought&name=Customer+Merged"
    async with followed(profile.client, f"{path}&ticket={await ticket('anon:a1')}") as stream:
        device = await _next(stream)
        await profile.tell(event("track", "ann", "a1", message="m6", event="Bought"))
        assert (await _next(stream)).name == "changed"
        assert [(await _next(stream)).data["name"] for _ in range(2)] == ["Customer Merged", "Bought"]

    path = "/v1/customers/user:ann/timeline/stream"
    for last, expected in ((late.id, ["Bought", "Customer Merged", "Bought"]), (device.id, ["changed"])):
        query = f"{path}?last_event_id={last}&ticket={await ticket('user:ann')}"
        async with followed(profile.client, query) as stream:
            assert (await _next(stream)).name == "ready"
            come = [await _next(stream) for _ in expected]
            assert [each.data.get("name", each.name) for each in come] == expected
    assert await profile.ask("GET", "customers/user:ann/timeline/stream?last_event_id=x", 422)
