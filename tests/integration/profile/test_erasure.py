"""Profile erases a customer: at once, also with events on their way; and whoever comes back is somebody new."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.common.contracts.records import encode
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.log.append import Outgoing
from libs.common.log.keyed_hash import KeyedHash
from libs.common.log.redaction import redacted
from libs.common.settings import Settings as CommonSettings
from services.profile.handler import Profile as Handler
from services.profile.segments.tasks import SegmentTasks
from services.profile.settings import Settings
from tests.integration.profile.service import NOON, Profile, batch_of, event, serving, started
from tests.integration.profile.test_races import insistent
from tests.support import eventually


async def erase(profile: Profile, ref: str, status: int = 202, key: str = "k", confirm: str | None = None) -> Any:
    path, body = f"customers/{ref}/erasure", {"confirm": confirm or ref}
    return await profile.ask("POST", path, status, json=body, headers={"Idempotency-Key": key})


def old(*args: Any, **more: Any) -> Outgoing:
    """An event that was received a minute ago."""
    return event(*args, received=datetime.now(UTC) - timedelta(minutes=1), **more)


async def test_who_comes_back_is_somebody_new(profile: Profile) -> None:
    await profile.tell(event("page", device="a1", message="m1"), event("identify", "ann", message="m2"))
    await profile.tell(event("identify", "ann", "a1", message="m3", traits={"email": "ann@example.com"}))
    ann = await profile.get("customers/user:ann")
    erasure = await erase(profile, "user:ann")
    assert (erasure["customer"], erasure["status"], erasure["services"]) == (ann["id"], "running", {})
    assert erasure["missing"] == ["ingest", "profile", "rewards", "triggers", "metrics"]
    for ref in ("user:ann", "anon:a1", ann["id"], ann["merged_from"][0]):
        await profile.ask("GET", f"customers/{ref}", 404)
    assert (await profile.get("customers"))["items"] == []
    before = [record for record in await profile.records() if record["type"] == "customer.erased.v1"]
    assert [(each["key"], each["data"]["also"]) for each in before] == [(ann["id"], ann["merged_from"])]
    assert before[0]["data"]["customer"] == {"id": ann["id"], "traits": {}, "orders": 0, "revenue": {}, "first_seen": None,
                                             "last_seen": None}  # fmt: skip

    await profile.tell(event("identify", "ann", "a1", message="m4"))
    new = await profile.get("customers/user:ann")
    assert new["id"] != ann["id"]
    assert (new["traits"], new["merged_from"], new["refs"]) == ({}, [], ["user:ann", "anon:a1"])
    (record,) = [each for each in await profile.records() if each["key"] == new["id"]]
    bound = {each["kind"]: each["version"] for each in record["data"]["customer"]["bound"]}
    assert bound == {"user": 2, "anon": 3}  # higher than what the services may still hold of the erased customer
    summary = await profile.summary()
    assert (summary["customers"], summary["erased"]) == (2, 1)


async def test_what_was_received_before_is_dropped_however_late_it_comes(profile: Profile) -> None:
    await profile.tell(event("identify", "ann", "a1", message="m1"), event("identify", "bob", "b1", message="m2"))
    ann = await profile.id_of("user:ann")
    await erase(profile, "user:ann")
    late = [
        old("identify", "ann", "a1", message="l1", traits={"name": "Ann"}),
        old("track", "ann", "unknown-device", message="l2"),
        old("page", device="a1", message="l3"),
        old("alias", "ann2", message="l4", previousId="ann"),
    ]
    theirs = [old("page", "bob", "a1", message="o1"), old("page", device="c1", message="o2")]
    await profile.tell(*late, *theirs, event("page", "ann", "a1", message="n1"), *late)
    new = await profile.get("customers/user:ann")
    assert new["id"] != ann
    assert new["traits"] == {}
    names = {record["data"]["messageId"] for record in await profile.records() if "messageId" in record["data"]}
    assert names == {"m1", "m2", "o1", "o2", "n1"}
    await profile.ask("GET", "customers/user:ann2", 404)
    await profile.ask("GET", "customers/anon:unknown-device", 404)
    assert (await profile.get("customers/anon:c1"))["refs"] == ["anon:c1"]


async def test_whoever_comes_back_can_merge_and_be_erased_again(profile: Profile) -> None:
    await profile.tell(event("identify", "ann", "a1", message="m1"))
    await erase(profile, "user:ann", key="1")
    await profile.tell(event("page", device="a1", message="m2"), event("identify", "ann", message="m3"))
    await profile.tell(event("identify", "ann", "a1", message="m4"))
    new = await profile.get("customers/user:ann")
    assert (new["refs"], len(new["merged_from"])) == (["user:ann", "anon:a1"], 1)
    merged = [each for each in await profile.records() if each["type"] == "customer.merged.v1"]
    assert merged[0]["data"]["customer"]["bound"] == [{"kind": "anon", "value": "a1", "version": 3}]
    erasure = await erase(profile, "user:ann", key="2")
    assert erasure["customer"] == new["id"]
    await profile.tell(old("page", "ann", "a1", message="l1"), event("page", "ann", "a1", message="m5"))
    newest = await profile.get("customers/user:ann")
    assert newest["id"] not in (new["id"], new["merged_from"][0])
    assert (await profile.summary())["erased"] == 2


async def test_facts_that_come_back_are_not_journalled(profile: Profile) -> None:
    await profile.tell(event("identify", "ann", message="m1"), event("identify", "bob", message="m2"))
    ann, bob = await profile.id_of("user:ann"), await profile.id_of("user:bob")
    await erase(profile, "user:ann")
    before = len(await profile.records())
    now = datetime.now(UTC)

    def fact(customer: str) -> Outgoing:
        data = {"rule": "r", "points": 5}
        value = encode(
            id=str(uuid.uuid4()), source="/rewards", type="points.credited.v1", time=now, recordedtime=now, data=data
        )
        return Outgoing(customer, value, now)

    gone = Outgoing(ann, redacted(uuid.uuid4(), now), now)
    await profile.tell(fact(ann), gone, fact(bob), topic=REWARDS)
    new = (await profile.records())[before:]
    assert len(await profile.records()) == before + 1, new
    assert (await profile.get("customers/user:bob"))["standing"]["points"] == 5


async def test_an_erasure_is_asked_for_with_care(profile: Profile) -> None:
    await profile.tell(event("identify", "ann", message="m1"), event("identify", "bob", message="m2"))
    refused = await erase(profile, "user:ann", 409, confirm="user:bob")
    assert "type user:ann" in refused["detail"]
    erasure = await erase(profile, "user:ann")
    assert (await erase(profile, "user:ann"))["id"] == erasure["id"]
    assert "another request" in (await erase(profile, "user:bob", 409))["detail"]
    await erase(profile, "user:ann", 404, key="another")
    page = await profile.get("erasures")
    assert [each["id"] for each in page["items"]] == [erasure["id"]]
    assert "PUBLIC KEY" in (await profile.get(f"erasures/{erasure['id']}"))["public_key"]
    await profile.ask("GET", f"erasures/{uuid.uuid4()}", 404)


async def test_two_ask_at_once(profile: Profile) -> None:
    await profile.tell(event("identify", "ann", message="m1"))
    answers = await asyncio.gather(*(erase(profile, "user:ann") for _ in range(3)))
    assert len({each["id"] for each in answers}) == 1
    assert [each["type"] for each in await profile.records()].count("customer.erased.v1") == 1


async def test_without_the_installations_key_nobody_is_erased(settings: CommonSettings) -> None:
    bare = Settings(**{**settings.model_dump(), "installation_key": ""})
    async with serving(bare) as profile:
        await profile.tell(event("identify", "ann", message="m1"))
        refused = await erase(profile, "user:ann", 503)
        assert "RAPPORT_INSTALLATION_KEY_FILE" in refused["detail"]
        assert await profile.id_of("user:ann")


async def test_segments_forget_and_their_timers_find_nothing(profile: Profile, profile_settings: Settings) -> None:
    days = (datetime.now(UTC) - NOON).days + 30
    segment = await profile.post("segments", {"name": "active", "when": f"count('Clicked', days={days}) >= 1"}, 201)
    await profile.post(f"segments/{segment['id']}/publish")
    await profile.tell(event("track", "ann", message="m1"), event("track", "bob", message="m2"))

    async def size() -> Any:
        return (await profile.get(f"segments/{segment['id']}"))["size"]

    await eventually(lambda: _is(size, 2))
    await erase(profile, "user:ann")
    assert await size() == 1
    async with started(profile_settings) as part:
        tasks = SegmentTasks(part, Handler(profile_settings.zone, profile_settings.partitions).rulebooks)
        await tasks.fire(datetime.now(UTC) + timedelta(days=60))
        while await tasks.fill_page():
            pass
        assert tasks.refused == set()
    assert await size() == 0


async def _is(ask: Any, wanted: object) -> bool:
    return bool(await ask() == wanted)


@pytest.mark.parametrize("first", ["batch", "erasure"])
async def test_a_batch_that_meets_an_erasure_ends_right(
    profile: Profile, profile_settings: Settings, first: str
) -> None:
    """Both wait for the customer: whoever gets them first, nobody is left."""
    await profile.tell(event("identify", "ann", "a1", message="m1"))
    handler = Handler(UTC, 8, lambda: KeyedHash(profile_settings))
    late = batch_of(0, [old("track", "ann", "a1", message="l1")])
    folding, erasing = insistent(profile.database, handler, late), erase(profile, "user:ann")
    tasks: list[asyncio.Task[Any]] = []
    async with profile.database.transaction() as tx:
        await tx.execute("SELECT 1 FROM profile.customers FOR UPDATE")
        for each in (folding, erasing) if first == "batch" else (erasing, folding):
            tasks.append(asyncio.create_task(each))
            await until_waiting(profile.database, len(tasks))
    await asyncio.gather(*tasks)
    await profile.ask("GET", "customers/user:ann", 404)
    assert (await profile.get("customers"))["items"] == []
    assert [each["type"] for each in await profile.records()][-1] == "customer.erased.v1"


async def until_waiting(database: Database, count: int) -> None:
    """Wait until so many transactions wait for a lock."""

    async def waits() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return int(await database.pool.fetchval(query)) >= count

    await eventually(waits)
