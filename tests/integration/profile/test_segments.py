"""Segments: who enters and leaves, and when; publication over customers who are there already; why."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.records import as_imported, encode
from libs.common.contracts.rewards import REWARDS, PointsCredited
from libs.common.log.append import Outgoing
from services.profile.segments.refresh import refresh
from services.profile.segments.rulebooks import Rulebooks
from tests.integration.profile.service import Profile, event
from tests.support import eventually

DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


def at(
    time: datetime, user: str | None, name: str, message: str, device: str | None = None, **properties: Any
) -> Outgoing:
    """An event that happened at a time and is received just now."""
    body: dict[str, Any] = {"type": "track", "messageId": message, "event": name, "properties": properties}
    body |= {key: id for key, id in (("userId", user), ("anonymousId", device)) if id}
    value = encode(
        id=f"00000000-0000-8000-8000-{abs(hash(message)) % 10**12:012d}",
        source="/apps/test",
        type="track.v1",
        time=time,
        recordedtime=now(),
        data=body,
    )
    return Outgoing(device or user or "", value, time)


async def published(profile: Profile, name: str, when: str) -> str:
    """Make a segment and put it in force; returns its id."""
    made = await profile.post("segments", {"name": name, "when": when}, 201)
    await profile.post(f"segments/{made['id']}/publish")
    await eventually(lambda: is_filled(profile, made["id"]))
    return str(made["id"])


async def is_filled(profile: Profile, id: str) -> bool:
    return (await profile.get(f"segments/{id}"))["fill"]["finished_at"] is not None


async def facts(profile: Profile, user: str | None = None) -> list[tuple[str, str, bool]]:
    """The facts on segments (of one user): entered or exited, the segment, whether by a publication."""
    key = None if user is None else await profile.id_of(f"user:{user}")
    return [
        (record["type"].split(".")[1], record["data"]["segment"], record["data"]["backfill"])
        for record in await profile.records()
        if record["type"].startswith("segment.") and key in (None, record["key"])
    ]


async def names(profile: Profile, id: str) -> list[str]:
    """Who is in a segment."""
    return sorted(item["user_id"] for item in (await profile.get(f"segments/{id}/customers"))["items"])


async def test_who_enters_by_an_import_enters_silently(profile: Profile) -> None:
    await published(profile, "viewers", "count('Product Viewed', days=7) >= 1")
    seen = at(now(), "ann", "Product Viewed", "1")
    await profile.tell(seen._replace(value=as_imported(seen.value)), at(now(), "ben", "Product Viewed", "2"))
    entered = [record for record in await profile.records() if record["type"] == "segment.entered.v1"]
    marks = {record["key"]: record.get("imported", False) for record in entered}
    assert marks == {await profile.id_of("user:ann"): True, await profile.id_of("user:ben"): False}


async def test_an_event_lets_its_customer_enter_and_the_record_says_so(profile: Profile) -> None:
    id = await published(profile, "gold", "customer.traits.plan == 'gold' && count('Product Viewed', days=7) >= 2")
    await profile.tell(
        event("identify", "ann", message="1", traits={"plan": "gold"}), at(now(), "ann", "Product Viewed", "2")
    )
    assert await facts(profile) == []
    await profile.tell(
        at(now(), "ann", "Product Viewed", "3"), event("identify", "ben", message="4", traits={"plan": "gold"})
    )
    assert await facts(profile) == [("entered", "gold", False)]
    assert await names(profile, id) == ["ann"]
    of_ann = [record for record in await profile.records() if record["key"] == await profile.id_of("user:ann")]
    assert [record["data"]["customer"].get("segments") for record in of_ann] == [None, None, ["gold"], ["gold"]]
    assert of_ann[-1]["causationid"] == of_ann[-2]["id"]
    assert of_ann[-1]["data"]["because"] == (
        "true because customer.traits.plan == 'gold' (it was 'gold') and"
        " count('Product Viewed', days=7) >= 2 (it was 2)"
    )
    await profile.tell(event("identify", "ann", message="5", minute=1, traits={"plan": "silver"}))
    assert [kind for kind, *_ in await facts(profile)] == ["entered", "exited"]
    assert await names(profile, id) == []
    sizes = await profile.get(f"segments/{id}/sizes")
    assert (sizes["size"], sizes["days"][-1]["entered"], sizes["days"][-1]["exited"]) == (0, 1, 1)


async def test_a_publication_finds_who_is_there_already_by_their_journal(profile: Profile) -> None:
    await profile.tell(
        *(
            at(now() - each * DAY, "ann", "Order Completed", f"a{each}", order_id=f"a{each}", revenue=10)
            for each in (1, 5, 40)
        ),
        *(
            at(now() - each * DAY, "ben", "Order Completed", f"b{each}", order_id=f"b{each}", revenue="99.5")
            for each in (2, 50)
        ),
    )
    id = await published(profile, "loyal", "count('Order Completed', days=30) >= 2")
    rich = await published(
        profile, "rich", "sum('Order Completed', 'revenue', days=90, where='event.properties.revenue != 10') > 100"
    )
    assert (await names(profile, id), await names(profile, rich)) == (["ann"], ["ben"])
    assert await facts(profile, "ann") == [("entered", "loyal", True)]
    why = await profile.get(f"segments/{id}/customers/user:ben")
    assert (why["matches"], why["member_since"]) == (False, None)
    assert why["because"] == "false because count('Order Completed', days=30) >= 2 (it was 1)"
    assert why["comparisons"][0]["values"] == {"count('Order Completed', days=30)": 1}
    await profile.tell(at(now(), "ben", "Order Completed", "b0", order_id="b0", revenue=1))
    assert await names(profile, id) == ["ann", "ben"]


async def test_what_leaves_a_window_lets_its_customer_leave(profile: Profile) -> None:
    id = await published(profile, "active", "count('Product Viewed', minutes=1) >= 2")
    seen = now()
    await profile.tell(
        at(seen - timedelta(seconds=58), "ann", "Product Viewed", "1"), at(seen, "ann", "Product Viewed", "2")
    )
    await eventually(lambda: left(profile, id))
    entry, exited = [record for record in await profile.records() if record["type"].startswith("segment.")]
    assert (entry["type"], exited["type"]) == ("segment.entered.v1", "segment.exited.v1")
    assert datetime.fromisoformat(exited["time"]) == seen - timedelta(seconds=58) + timedelta(minutes=1)
    assert exited["data"]["because"] == "false because count('Product Viewed', minutes=1) >= 2 (it was 1)"


async def left(profile: Profile, id: str) -> bool:
    return await names(profile, id) == [] and bool(await facts(profile))


async def test_an_event_meets_only_what_is_in_the_window_when_it_comes(profile: Profile) -> None:
    """The timer has not fired yet when the second event comes: the first has left the window all the same."""
    id = await published(profile, "active", "count('Product Viewed', minutes=1) >= 2 && customer.orders >= 0")
    first, second = now() - timedelta(seconds=30), now() + timedelta(seconds=40)
    later = at(second, "ann", "Product Viewed", "2")
    late = later._replace(value=msgspec.json.encode(msgspec.json.decode(later.value) | {"recordedtime": second}))
    await profile.tell(at(first, "ann", "Product Viewed", "1"), late)
    assert await facts(profile) == []
    customer = UUID(await profile.id_of("user:ann"))
    await look(profile, {customer: first + timedelta(minutes=1)})
    assert (await facts(profile), await names(profile, id)) == ([], [])
    await look(profile, {customer: first + timedelta(minutes=1)})
    assert await facts(profile) == []


async def look(profile: Profile, customers: Mapping[UUID, datetime], number: int | None = None) -> None:
    """Look at customers as their timers do, under the newest rulebook or the one of a number."""
    async with profile.database.transaction() as tx:
        number = await tx.fetchval("SELECT max(rulebook) FROM profile.positions") if number is None else number
        rules = await Rulebooks().rules(tx, number)
        await refresh(tx, customers, rules, UTC, profile.database.settings.partitions)


async def test_a_new_customer_enters_what_holds_of_who_has_done_nothing(profile: Profile) -> None:
    id = await published(profile, "visitor", "customer.orders == 0 && count('Order Completed', days=30) == 0")
    await published(profile, "planless", "!has(customer.traits.plan)")
    await profile.tell(event("page", "ann", message="1"))
    assert await facts(profile) == [("entered", "visitor", False), ("entered", "planless", False)]
    await profile.tell(at(now(), "ann", "Order Completed", "2", order_id="2"), event("page", "ann", message="3"))
    assert await names(profile, id) == []
    assert await facts(profile) == [
        ("entered", "visitor", False),
        ("entered", "planless", False),
        ("exited", "visitor", False),
    ]


async def test_silence_lets_a_customer_enter(profile: Profile) -> None:
    id = await published(profile, "silent", "last('Product Viewed') < ago(minutes=1)")
    seen = now() - timedelta(seconds=58)
    await profile.tell(at(seen, "ann", "Product Viewed", "1"), event("page", "ben", message="2"))
    await eventually(lambda: entered(profile, id, "ann"))
    (entry,) = [record for record in await profile.records() if record["type"].startswith("segment.")]
    assert datetime.fromisoformat(entry["time"]) == seen + timedelta(minutes=1, microseconds=1)
    await profile.tell(at(now(), "ann", "Product Viewed", "3"))
    assert await names(profile, id) == []


async def entered(profile: Profile, id: str, user: str) -> bool:
    return user in await names(profile, id)


async def test_a_merge_counts_what_both_did(profile: Profile) -> None:
    id = await published(profile, "loyal", "count('Order Completed', days=30) >= 3")
    await profile.tell(
        *(at(now(), None, "Order Completed", f"a{each}", "device", order_id=f"a{each}") for each in (1, 2)),
        at(now(), "ann", "Order Completed", "a3", order_id="a3"),
    )
    assert await facts(profile) == []
    await profile.tell(event("identify", "ann", "device", message="m"))
    await eventually(lambda: entered(profile, id, "ann"))
    assert await facts(profile) == [("entered", "loyal", False)]


async def test_who_enters_by_an_imported_merge_enters_silently(profile: Profile) -> None:
    id = await published(profile, "viewers", "count('Product Viewed') >= 2")
    for user, device, imported in (("ann", "a", True), ("ben", "b", False)):
        await profile.tell(
            at(now(), None, "Product Viewed", f"1{user}", device), at(now(), user, "Product Viewed", f"2{user}")
        )
        merges = event("identify", user, device, message=f"m{user}")
        await profile.tell(merges._replace(value=as_imported(merges.value)) if imported else merges)
    await eventually(lambda: entered(profile, id, "ann"))
    await eventually(lambda: entered(profile, id, "ben"))
    facts = [record for record in await profile.records() if record["type"] == "segment.entered.v1"]
    marks = {record["key"]: record.get("imported", False) for record in facts}
    assert marks == {await profile.id_of("user:ann"): True, await profile.id_of("user:ben"): False}


async def test_who_was_in_a_segment_and_is_merged_leaves_no_trace(profile: Profile) -> None:
    id = await published(profile, "seen", "count('Product Viewed') >= 1")
    await profile.tell(at(now(), None, "Product Viewed", "1", "device"), event("page", "ann", message="2"))
    assert len((await profile.get(f"segments/{id}/customers"))["items"]) == 1
    await profile.tell(event("identify", "ann", "device", message="m"))
    await eventually(lambda: entered(profile, id, "ann"))
    assert await names(profile, id) == ["ann"]


async def test_points_and_levels_of_other_services_count(profile: Profile) -> None:
    id = await published(profile, "rich", "customer.points >= 100")
    await profile.tell(event("page", "ann", message="1"))
    customer = await profile.id_of("user:ann")
    for number in (1, 2):
        fact = PointsCredited(points=60, balance=60 * number, rule="r")
        value = encode(
            id=f"00000000-0000-8000-8000-00000000000{number}", source="/rewards", type=fact.TYPE, time=now(),
            recordedtime=now(), subject=customer, causationid="x", depth=1, stamp=f"0/1/0/{number}", data=fact,
        )  # fmt: skip
        await profile.tell(Outgoing(customer, value, now()), topic=REWARDS)
    assert await names(profile, id) == ["ann"]
    (entry,) = [record for record in await profile.records() if record["type"] == "segment.entered.v1"]
    assert (entry["depth"], entry["data"]["customer"]["points"]) == (2, 120)


async def test_who_enters_by_a_command_is_counted(profile: Profile) -> None:
    id = await published(profile, "reachable", "customer.consent.marketing == true")
    await profile.tell(event("page", "ann", message="1"))
    await profile.put("customers/user:ann/consents/marketing", {"status": "granted"})
    assert await names(profile, id) == ["ann"]
    sizes = await profile.get(f"segments/{id}/sizes")
    assert [(day["entered"], day["exited"], day["size"]) for day in sizes["days"]] == [(1, 0, 1)]


async def test_a_new_version_and_the_archive_move_members(profile: Profile) -> None:
    await profile.tell(
        *(event("identify", who, message=who, traits={"age": age}) for who, age in (("ann", 30), ("ben", 50)))
    )
    id = await published(profile, "adult", "customer.traits.age >= 18")
    assert await names(profile, id) == ["ann", "ben"]
    await profile.put(f"segments/{id}", {"name": "adult", "when": "customer.traits.age >= 40"})
    assert await names(profile, id) == ["ann", "ben"]
    await profile.post(f"segments/{id}/publish")
    await eventually(lambda: is_filled(profile, id))
    assert await names(profile, id) == ["ben"]
    assert await facts(profile, "ann") == [("entered", "adult", True), ("exited", "adult", True)]
    await profile.post(f"segments/{id}/archive")
    await eventually(lambda: left(profile, id))
    assert await facts(profile, "ben") == [("entered", "adult", True), ("exited", "adult", True)]
    await profile.ask("POST", "segments", 409, json={"name": "adult", "when": "true"})


async def test_a_preview_counts_and_changes_nothing(profile: Profile) -> None:
    await profile.tell(
        *(at(now(), f"u{each}", "Order Completed", f"m{each}", order_id=f"o{each}") for each in range(12))
    )
    await profile.tell(event("page", "other", message="x"))
    made = await profile.post("segments", {"name": "buyers", "when": "count('Order Completed') > 0"}, 201)
    found = await profile.post(f"segments/{made['id']}/preview")
    assert (found["count"], found["estimated"], found["tried"], len(found["samples"])) == (12, False, 13, 10)
    assert await facts(profile) == []
    refused = await profile.ask(
        "POST", "segments", 422, json={"name": "x", "when": "count('Order Completed', day=3) > 1"}
    )
    assert "takes no day here" in refused["detail"]


async def test_customers_who_change_while_a_publication_is_filled_end_right(profile: Profile) -> None:
    """Events, fills and second looks at the same customers, all at once, count each event once."""
    await profile.tell(
        *(at(now(), f"u{each}", "Order Completed", f"m{each}", order_id=f"o{each}") for each in range(40))
    )
    made = await profile.post("segments", {"name": "twice", "when": "count('Order Completed', days=9) == 2"}, 201)
    ids = {UUID(each["id"]): now() for each in (await profile.get("customers", limit=200))["items"]}
    again = [at(now(), f"u{each}", "Order Completed", f"n{each}", order_id=f"p{each}") for each in range(40)]
    await asyncio.gather(
        profile.post(f"segments/{made['id']}/publish"), profile.tell(*again), look(profile, ids), look(profile, ids)
    )
    await eventually(lambda: is_filled(profile, made["id"]))
    assert len(await names(profile, made["id"])) == 40
    await look(profile, ids)
    assert len(await facts(profile)) == 40


async def test_a_process_that_is_late_with_an_old_rulebook_undoes_nothing(profile: Profile) -> None:
    await profile.tell(at(now(), "ann", "Product Viewed", "1"))
    await published(profile, "first", "count('Product Viewed') >= 1")
    id = await published(profile, "second", "count('Product Viewed', days=9) >= 1")
    await look(profile, {UUID(await profile.id_of("user:ann")): now()}, 1)
    assert await names(profile, id) == ["ann"]
    await profile.tell(at(now(), "ann", "Product Viewed", "2"))
    why = await profile.get(f"segments/{id}/customers/user:ann")
    assert (why["matches"], why["member_since"] is not None) == (True, True)
    assert [kind for kind, *_ in await facts(profile)] == ["entered", "entered"]


async def test_the_members_of_a_static_segment_are_uploaded(profile: Profile) -> None:
    await profile.tell(*(event("identify", who, message=who) for who in ("ann", "ben", "cem")))
    made = await profile.post("segments", {"name": "vip", "static": True}, 201)
    csv = {"content-type": "text/csv"}
    await profile.ask("PUT", f"segments/{made['id']}/members", 409, content="user:ann", headers=csv)
    await profile.post(f"segments/{made['id']}/publish")
    await eventually(lambda: is_filled(profile, made["id"]))
    ben = await profile.id_of("user:ben")
    first = await profile.ask(
        "PUT",
        f"segments/{made['id']}/members",
        content=f"ref,name\nuser:ann,Ann\n{ben},Ben\nuser:nobody,\nx,\n",
        headers=csv,
    )
    assert first == {"entered": 2, "exited": 0, "unknown": 2, "unknown_lines": ["user:nobody", "x"]}
    again = await profile.ask("PUT", f"segments/{made['id']}/members", content="user:ben\nuser:cem\n", headers=csv)
    assert (again["entered"], again["exited"]) == (1, 1)
    assert await names(profile, made["id"]) == ["ben", "cem"]
    assert await facts(profile, "ann") == [("entered", "vip", False), ("exited", "vip", False)]
    assert list((await profile.get("customers/user:ben"))["segments"]) == ["vip"]
    for line, says in (("x" * 200_000, "field larger than field limit"), ('user:ben,"Ben', "unexpected end of data")):
        content = f"user:cem\n{line}\n"
        broken = await profile.ask("PUT", f"segments/{made['id']}/members", 400, content=content, headers=csv)
        assert broken["detail"].startswith(f"The list is no CSV at line 2: {says}")
    assert await names(profile, made["id"]) == ["ben", "cem"]


async def test_nobody_enters_a_static_segment_that_was_archived_during_the_upload(profile: Profile) -> None:
    await profile.tell(event("identify", "ann", message="1"))
    made = await profile.post("segments", {"name": "vip", "static": True}, 201)
    await profile.post(f"segments/{made['id']}/publish")
    async with profile.database.transaction() as tx:
        await tx.execute("LOCK TABLE profile.identifiers IN ACCESS EXCLUSIVE MODE")  # no line is resolved meanwhile
        upload = asyncio.create_task(
            profile.ask(
                "PUT",
                f"segments/{made['id']}/members",
                409,
                content="user:ann",
                headers={"content-type": "text/csv"},
            )
        )
        waiting = (
            "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'profile.identifiers'::regclass AND NOT granted)"
        )
        await eventually(lambda: tx.fetchval(waiting))
        await profile.post(f"segments/{made['id']}/archive")
        await eventually(lambda: is_filled(profile, made["id"]))
    assert (await upload)["detail"].startswith("This segment is not live")
    assert await names(profile, made["id"]) == []


async def test_computed_traits_are_traits(profile: Profile) -> None:
    async def viewed(user: str, message: str, category: str, time: datetime | None = None) -> None:
        await profile.tell(at(time or now(), user, "Product Viewed", message, category=category))

    for number, category in enumerate(("shoes", "hats", "shoes")):
        await viewed("ann", f"a{number}", category)
    made = await profile.post(
        "computed-traits", {"name": "favourite", "value": "most_frequent('Product Viewed', 'category', days=30)"}, 201
    )
    sampled = await profile.post(f"computed-traits/{made['id']}/preview")
    assert [(each["user_id"], each["value"]) for each in sampled["samples"]] == [("ann", "shoes")]
    await profile.post(f"computed-traits/{made['id']}/publish")
    id = await published(profile, "hatters", "customer.traits.favourite == 'hats'")
    assert (await profile.get("customers/user:ann"))["computed_traits"] == {"favourite": "shoes"}
    for number in range(3, 5):
        await viewed("ann", f"a{number}", "hats")
    await viewed("ben", "b", "hats")
    assert await names(profile, id) == ["ann", "ben"]
    assert (await profile.records())[-1]["data"]["customer"]["traits"] == {"favourite": "hats"}
    await profile.post(f"computed-traits/{made['id']}/archive")
    await eventually(lambda: left(profile, id))
    assert (await profile.get("customers/user:ann"))["computed_traits"] == {}


async def test_a_computed_trait_is_one_window(profile: Profile) -> None:
    for value in ("customer.orders", "count('A') + 1", "count('A') > 1", "1", "count('A', day=1)"):
        refused = await profile.ask("POST", "computed-traits", 422, json={"name": "x", "value": value})
        assert refused["detail"].startswith("The computed trait cannot be saved: value: ")
