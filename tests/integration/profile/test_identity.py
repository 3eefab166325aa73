"""Who is who, on a real log: claims, merges, devices that change hands."""

from libs.common.settings import Settings
from services.profile import queries
from tests.integration.profile.said import holder, journal, running, said, tell


async def test_an_unknown_id_makes_a_customer(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said("page", device="a1", message="m1"), said("identify", "u2", message="m2", traits={"n": 1}))
        records = await journal(part)
        assert {record["key"] for record in records} == {
            str(await holder(part, "anon:a1")),
            str(await holder(part, "user:u2")),
        }
        assert all(record["data"]["customer"]["id"] == record["key"] for record in records)
        assert all(record["data"]["customer"]["bound"][0]["version"] == 1 for record in records)
        async with part.read() as tx:
            totals = await queries.summary(tx)
        assert (totals["customers"], totals["identified"], totals["anonymous"], totals["events"]) == (2, 1, 1, 2)


async def test_a_new_user_claims_the_anonymous_customer_it_comes_with(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said("page", device="a1", message="m1"))
        await tell(part, said("identify", "u1", "a1", message="m2", traits={"plan": "gold"}))
        assert await holder(part, "user:u1") == await holder(part, "anon:a1")
        types = [record["type"] for record in await journal(part)]
        assert types == ["page.v1", "identify.v1"]
        async with part.read() as tx:
            totals = await queries.summary(tx)
        assert (totals["claims"], totals["merges"], totals["customers"], totals["identified"]) == (1, 0, 1, 1)


async def test_page_and_identify_in_one_batch_merge_with_left_before_merged(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said("track", "u1", message="m0"))
        await tell(part, said("page", device="a1", message="m1"), said("identify", "u1", "a1", message="m2"))
        records = await journal(part)
        (left,) = [record for record in records if record["type"] == "customer.left.v1"]
        (merged,) = [record for record in records if record["type"] == "customer.merged.v1"]
        survivor = str(await holder(part, "user:u1"))
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
        async with part.read() as tx:
            totals = await queries.summary(tx)
        assert (totals["merges"], totals["customers"], totals["identified"], totals["anonymous"]) == (1, 1, 1, 0)


async def test_a_device_of_another_user_follows_without_a_merge(settings: Settings) -> None:
    async with running(settings) as part:
        await tell(part, said("identify", "u1", "a1", message="m1"))
        await tell(part, said("identify", "u2", "a1", message="m2"))
        await tell(part, said("page", device="a1", message="m3"))
        assert await holder(part, "anon:a1") == await holder(part, "user:u2") != await holder(part, "user:u1")
        records = await journal(part)
        second = next(
            record for record in records if record["type"] == "identify.v1" and record["data"]["userId"] == "u2"
        )
        assert {(bound["value"], bound["version"]) for bound in second["data"]["customer"]["bound"]} == {
            ("u2", 1),
            ("a1", 2),
        }
        assert "customer.left.v1" not in {record["type"] for record in records}
        async with part.read() as tx:
            shown = await queries.customer(tx, await holder(part, "user:u1"))  # type: ignore[arg-type]
        assert shown["refs"] == ["user:u1"]
