"""Merges: the list with causes, merges by an operator, their preview."""

from typing import Any

from tests.integration.profile.service import Profile, event


async def page_of(profile: Profile, **params: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await profile.get("merges", **params))["items"]
    return items


async def test_a_merge_is_listed_with_the_event_that_asked_for_it(profile: Profile) -> None:
    await profile.tell(event(user="ann", message="m1"), event("page", device="a1", message="m2"))
    ann, anonymous = await profile.id_of("user:ann"), await profile.id_of("anon:a1")
    await profile.tell(event("identify", "ann", "a1", message="m3", minute=5))
    (merge,) = await page_of(profile)
    (fact,) = [each for each in await profile.records() if each["type"] == "customer.merged.v1"]
    assert (merge["survivor"], merge["other"], merge["identifiers"]) == (ann, anonymous, ["anon:a1"])
    assert (merge["id"], merge["at"]) == (fact["id"], "2026-03-02T12:05:00Z")
    assert merge["cause"] == {
        "kind": "event",
        "record": fact["causationid"],
        "name": "Identified",
        "source": "/apps/test",
        "by": None,
        "reason": None,
    }
    assert await profile.get(f"merges/{merge['id']}") == merge
    assert "GET /v1/merges lists them" in (await profile.ask("GET", f"merges/{ann}", 404))["detail"]


async def test_merges_are_paged_and_those_of_a_customer_include_earlier_ones(profile: Profile) -> None:
    for number, user in enumerate(("ann", "ben", "ann")):
        await profile.tell(
            event(user=user, message=f"u{number}"), event("page", device=f"a{number}", message=f"p{number}")
        )
        await profile.tell(event("identify", user, f"a{number}", message=f"i{number}", minute=number))
    first = await profile.get("merges", limit=2)
    rest = await profile.get("merges", limit=2, cursor=first["next"])
    assert [each["identifiers"] for each in first["items"] + rest["items"]] == [["anon:a2"], ["anon:a1"], ["anon:a0"]]
    assert rest["next"] is None
    of_ann = await page_of(profile, customer="anon:a0")
    assert [each["identifiers"] for each in of_ann] == [["anon:a2"], ["anon:a0"]]
    assert "cursor" in (await profile.ask("GET", "merges", 422, params={"cursor": "x"}))["detail"]
    await profile.ask("GET", "merges", 404, params={"customer": "user:nobody"})
