"""Merges: the list with causes, merges by an operator, their preview."""

from typing import Any

from services.profile.settings import Settings
from tests.client import token
from tests.integration.profile.service import Profile, both, event, serving

KEYED = {"Idempotency-Key": "merge-1"}
TWO = {"keep": "user:ann", "absorb": "user:old"}


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


async def two_accounts(profile: Profile) -> None:
    """A person with two accounts, who ordered once by both."""
    order: dict[str, Any] = {
        "event": "Order Completed",
        "properties": {"order_id": "o1", "revenue": 10, "currency": "USD"},
    }
    await profile.tell(
        event("identify", "ann", "a1", message="m1", minute=1, traits={"plan": "gold", "city": "Bern"}),
        event(user="ann", message="m2", minute=2, **order),
        event("identify", "old", "a2", message="m3", minute=3, traits={"plan": "free", "city": "Bern"}),
        event(user="old", message="m4", minute=4, **order),
        event(
            user="old",
            message="m5",
            minute=5,
            event="Order Completed",
            properties={"order_id": "o2", "revenue": 5, "currency": "USD"},
        ),
    )
    await profile.put("customers/user:ann/consents/marketing", {"status": "granted"})
    await profile.put("customers/user:old/consents/marketing", {"status": "denied"})


async def test_two_accounts_of_one_person_are_merged_with_both_userids(profile: Profile) -> None:
    await two_accounts(profile)
    ann, old = await profile.id_of("user:ann"), await profile.id_of("user:old")
    merge = await profile.post("merges", {**TWO, "reason": "wrote in"}, 201)
    assert (merge["survivor"], merge["other"], merge["identifiers"]) == (ann, old, ["anon:a2", "user:old"])
    cause = {"kind": "command", "name": "Merge", "source": "api", "by": "marta", "reason": "wrote in"}
    assert {name: merge["cause"][name] for name in cause} == cause
    assert (await profile.get("merges"))["items"] == [merge]
    for ref in ("user:old", "anon:a2", old):
        assert await profile.id_of(ref) == ann
    survivor = await profile.get("customers/user:old")
    assert (survivor["user_id"], survivor["orders"], survivor["revenue"]) == ("ann", 2, {"USD": "15.00"})
    assert (survivor["traits"]["plan"], survivor["consent"]) == ("free", {"marketing": "denied"})
    totals = await profile.summary()
    assert (totals["customers"], totals["identified"], totals["anonymous"], totals["merges"]) == (1, 1, 0, 1)
    await profile.tell(event("identify", "old", "a3", message="m6", minute=9, traits={"plan": "new"}))
    survivor = await profile.get("customers/anon:a3")
    assert (survivor["id"], survivor["user_id"], survivor["traits"]["plan"]) == (ann, "ann", "new")


async def test_a_merge_by_command_writes_the_two_records_of_every_merge(profile: Profile) -> None:
    await two_accounts(profile)
    merge = await profile.post("merges", TWO, 201)
    records = await profile.records()
    (left,) = [each for each in records if each["type"] == "customer.left.v1"]
    (merged,) = [each for each in records if each["type"] == "customer.merged.v1"]
    assert (left["key"], left["data"]["into"]) == (merge["other"], merge["survivor"])
    assert (merged["key"], merged["data"]["other"], merged["id"]) == (merge["survivor"], merge["other"], merge["id"])
    assert left["causationid"] == merged["causationid"] == merge["cause"]["record"]
    assert "stamp" not in left
    bound = [(each["kind"], each["value"], each["version"]) for each in merged["data"]["customer"]["bound"]]
    assert bound == [("anon", "a2", 2), ("user", "old", 2)]
    assert [each["type"] for each in records if each["key"] == merge["survivor"]][-2:] == [
        "customer.merged.v1",
        "consent.changed.v1",
    ]
    assert [each["type"] for each in records if each["key"] == merge["other"]][-1] == "customer.left.v1"


async def test_the_preview_shows_the_survivor_and_the_conflicts_and_merges_nothing(profile: Profile) -> None:
    await two_accounts(profile)
    before = [await profile.get(f"customers/user:{user}") for user in ("ann", "old")]
    preview = await profile.post("merges/preview", TWO)
    assert preview["conflicts"] == {
        "user_ids": ["ann", "old"],
        "traits": [{"name": "plan", "keep": "gold", "absorb": "free", "result": "free"}],
        "consents": [
            {"purpose": "marketing", "channel": "all", "keep": "granted", "absorb": "denied", "result": "denied"}
        ],
        "orders": ["o1"],
    }
    assert preview["identifiers"] == ["anon:a2", "user:old"]
    assert [await profile.get(f"customers/user:{user}") for user in ("ann", "old")] == before
    assert (await profile.get("merges"))["items"] == []
    await profile.post("merges", TWO, 201)
    assert await profile.get("customers/user:ann") == preview["customer"]


async def test_an_anonymous_customer_who_is_kept_gets_the_userid(profile: Profile) -> None:
    await profile.tell(event("page", device="a1", message="m1"), event(user="ann", message="m2"))
    anonymous = await profile.id_of("anon:a1")
    await profile.post("merges", {"keep": "anon:a1", "absorb": "user:ann"}, 201)
    survivor = await profile.get("customers/user:ann")
    assert (survivor["id"], survivor["user_id"]) == (anonymous, "ann")
    totals = await profile.summary()
    assert (totals["customers"], totals["identified"]) == (1, 1)


async def test_an_idempotency_key_merges_once(profile: Profile) -> None:
    await two_accounts(profile)
    answers = await both(*(profile.ask("POST", "merges", 201, json=TWO, headers=KEYED) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    refused = await profile.ask("POST", "merges", 409, json={**TWO, "reason": "again"}, headers=KEYED)
    assert "use a new key" in refused["detail"]
    again = await profile.ask("POST", "merges", 409, json=TWO)
    assert "there is nothing to merge" in again["detail"]
    assert len(await page_of(profile)) == 1


async def test_two_who_are_merged_both_ways_at_once_are_merged_once(profile: Profile) -> None:
    await two_accounts(profile)
    turned = {"keep": "user:old", "absorb": "user:ann"}
    answers = await both(*(profile.client.post("/v1/merges", json=body) for body in (TWO, turned)))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert len(await page_of(profile)) == 1
    assert (await profile.summary())["customers"] == 1


async def test_what_cannot_be_merged_is_refused_with_a_sentence(profile: Profile) -> None:
    await two_accounts(profile)
    nobody = "00000000-0000-7000-8000-000000000000"
    for body, status, said in (
        ({"keep": "user:ann", "absorb": "user:nobody"}, 404, "no customer user:nobody"),
        ({"keep": "user:ann", "absorb": nobody}, 404, f"no customer {nobody}"),
        ({"keep": "user:ann", "absorb": "anon:a1"}, 409, "Both lead to the same customer"),
        ({"keep": "user:ann", "absorb": "ann"}, 422, "is not a customer"),
        ({"keep": "user:ann"}, 422, "absorb"),
    ):
        for path in ("merges", "merges/preview"):
            assert said in str(await profile.ask("POST", path, status, json=body))
    await profile.ask("POST", "merges", 403, json=TWO, headers=token("customers:write"))
    await profile.ask("POST", "merges/preview", 200, json=TWO, headers=token("customers:read"))


async def test_a_merge_by_command_races_events_of_both(profile_settings: Settings) -> None:
    """Whatever comes first, there is one customer in the end, nothing follows `left`, and every event is counted."""
    async with serving(profile_settings) as profile:
        for number in range(5):
            users = [f"u{number}", f"v{number}"]
            await profile.tell(*(event(user=user, message=f"m{user}") for user in users))
            told = (event(user=user, device=f"a{number}", message=f"n{user}", minute=1) for user in users)
            await both(
                profile.tell(*told),
                profile.post(
                    "merges", dict(zip(("keep", "absorb"), (f"user:{user}" for user in users), strict=True)), 201
                ),
            )
            one, other = [await profile.get(f"customers/user:{user}") for user in users]
            assert one == other
            assert set(one["refs"]) == {f"anon:a{number}", *(f"user:{user}" for user in users)}
        left: set[str] = set()
        for record in await profile.records():
            assert record["key"] not in left
            if record["type"] == "customer.left.v1":
                left.add(record["key"])
        assert len(left) == 5
        assert (await profile.summary())["events"] == 20
