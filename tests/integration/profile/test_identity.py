"""Who is who, on a real log: claims, merges, devices that change hands."""

from libs.common.contracts.records import as_imported
from tests.integration.profile.service import Profile, event


async def test_an_unknown_id_makes_a_customer(profile: Profile) -> None:
    await profile.tell(event("page", device="a1", message="m1"), event("identify", "u2", message="m2", traits={"n": 1}))
    records = await profile.records()
    assert {record["key"] for record in records} == {
        await profile.id_of("anon:a1"),
        await profile.id_of("user:u2"),
    }
    assert all(record["data"]["customer"]["id"] == record["key"] for record in records)
    assert all(record["data"]["customer"]["bound"][0]["version"] == 1 for record in records)
    totals = await profile.summary()
    assert (totals["customers"], totals["identified"], totals["anonymous"], totals["events"]) == (2, 1, 1, 2)


async def test_a_new_user_claims_the_anonymous_customer_it_comes_with(profile: Profile) -> None:
    await profile.tell(event("page", device="a1", message="m1"))
    await profile.tell(event("identify", "u1", "a1", message="m2", traits={"plan": "gold"}))
    assert await profile.id_of("user:u1") == await profile.id_of("anon:a1")
    types = [record["type"] for record in await profile.records()]
    assert types == ["page.v1", "identify.v1"]
    totals = await profile.summary()
    assert (totals["claims"], totals["merges"], totals["customers"], totals["identified"]) == (1, 0, 1, 1)


async def test_page_and_identify_in_one_batch_merge_with_left_before_merged(profile: Profile) -> None:
    await profile.tell(event("track", "u1", message="m0"))
    await profile.tell(event("page", device="a1", message="m1"), event("identify", "u1", "a1", message="m2"))
    records = await profile.records()
    (left,) = [record for record in records if record["type"] == "customer.left.v1"]
    (merged,) = [record for record in records if record["type"] == "customer.merged.v1"]
    survivor = await profile.id_of("user:u1")
    assert left["data"]["into"] == merged["key"] == survivor
    assert left["key"] == merged["data"]["other"] == left["data"]["customer"]["id"] != survivor
    assert merged["data"]["customer"]["bound"] == [{"kind": "anon", "value": "a1", "version": 2}]
    of_left = [record["type"] for record in records if record["key"] == left["key"]]
    of_survivor = [record["type"] for record in records if record["key"] == survivor]
    assert of_left == ["page.v1", "customer.left.v1"]
    assert of_survivor == ["track.v1", "customer.merged.v1", "identify.v1"]
    identify = next(record for record in records if record["type"] == "identify.v1")
    assert left["causationid"] == merged["causationid"] == identify["id"]
    assert (left["source"], left["depth"], left["subject"]) == ("/profile", 1, left["key"])
    totals = await profile.summary()
    assert (totals["merges"], totals["customers"], totals["identified"], totals["anonymous"]) == (1, 1, 1, 0)


async def test_what_an_import_leads_to_is_marked_like_it(profile: Profile) -> None:
    await profile.tell(event("track", "u1", message="m0"), event("page", device="a1", message="m1"))
    identify = event("identify", "u1", "a1", message="m2")
    await profile.tell(identify._replace(value=as_imported(identify.value)))
    marked = {record["type"]: record.get("imported", False) for record in await profile.records()}
    assert marked == {"track.v1": False, "page.v1": False, "identify.v1": True, "customer.left.v1": True,
                      "customer.merged.v1": True}  # fmt: skip


async def test_a_device_of_another_user_follows_without_a_merge(profile: Profile) -> None:
    await profile.tell(event("identify", "u1", "a1", message="m1"))
    await profile.tell(event("identify", "u2", "a1", message="m2"))
    await profile.tell(event("page", device="a1", message="m3"))
    assert await profile.id_of("anon:a1") == await profile.id_of("user:u2") != await profile.id_of("user:u1")
    records = await profile.records()
    second = next(record for record in records if record["type"] == "identify.v1" and record["data"]["userId"] == "u2")
    assert {(bound["value"], bound["version"]) for bound in second["data"]["customer"]["bound"]} == {
        ("u2", 1),
        ("a1", 2),
    }
    assert "customer.left.v1" not in {record["type"] for record in records}
    assert (await profile.get("customers/user:u1"))["refs"] == ["user:u1"]
