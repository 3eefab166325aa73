"""Tasks: added, listed, due once, done; through merges and by two at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.profile.service import Profile, both, event
from tests.support import eventually

HOUR = timedelta(hours=1)


def _task(title: str, due: datetime, **more: str) -> dict[str, Any]:
    return {"title": title, "due": due.isoformat(), **more}


async def _facts(profile: Profile, type: str) -> list[dict[str, Any]]:
    return [record for record in await profile.records() if record["type"] == type]


async def test_a_task_is_due_once_and_ends_when_it_is_done(profile: Profile) -> None:
    await profile.tell(event("track", "ann", message="m1"), event("page", device="a1", message="m2"))
    now = datetime.now(UTC)
    late = await profile.post("customers/anon:a1/tasks", _task("call", now - HOUR, owner="mary"), 201)
    soon = await profile.post("customers/user:ann/tasks", _task("write", now + HOUR, owner="mary"), 201)
    other = await profile.post("customers/user:ann/tasks", _task("visit", now + 2 * HOUR), 201)

    async def told() -> bool:
        return bool((await profile.get(f"tasks/{late['id']}"))["told_at"])

    await eventually(told)
    await profile.tell(event("track", "ann", "a1", message="m3", minute=5))  # merges
    (due,) = await _facts(profile, "task.due.v1")
    assert due["data"]["title"] == "call"
    assert due["key"] == late["customer"]

    async def listed(**query: Any) -> list[str]:
        return [task["title"] for task in (await profile.get("tasks", **query))["items"]]

    assert await listed() == ["call", "write", "visit"]
    assert await listed(overdue="true") == ["call"]
    assert await listed(owner="mary", customer="user:ann") == ["call", "write"]
    first = await profile.get("tasks", limit=1)
    assert [task["id"] for task in (await profile.get("tasks", limit=2, cursor=first["next"]))["items"]] == [
        soon["id"],
        other["id"],
    ]

    done = await both(*(profile.post(f"tasks/{late['id']}/done") for _ in range(3)))
    assert len({task["done_at"] for task in done}) == 1
    assert (await profile.get(f"tasks/{late['id']}"))["done_at"] is not None
    assert await listed(customer="user:ann") == ["write", "visit"]
    (fact,) = await _facts(profile, "task.done.v1")
    assert fact["key"] == await profile.id_of("user:ann")
    assert len(await _facts(profile, "task.due.v1")) == 1
    names = [entry["name"] for entry in (await profile.get("customers/user:ann/timeline", kind="fact"))["items"]]
    assert names.count("Task Due") == names.count("Task Done") == 1


async def test_what_is_done_before_it_is_due_is_never_due(profile: Profile) -> None:
    await profile.tell(event("track", "ann", message="m1"))
    due = datetime.now(UTC) + HOUR
    task = await profile.post("customers/user:ann/tasks", _task("call", due), 201)
    await profile.post(f"tasks/{task['id']}/done")
    async with profile.database.transaction() as tx:
        await tx.execute("UPDATE profile.tasks SET due = now() - interval '1 day' WHERE title = 'call'")
    marker = await profile.post("customers/user:ann/tasks", _task("now", due - 2 * HOUR), 201)

    async def told() -> bool:
        return bool((await profile.get(f"tasks/{marker['id']}"))["told_at"])

    await eventually(told)
    assert [fact["data"]["title"] for fact in await _facts(profile, "task.due.v1")] == ["now"]


async def test_a_task_that_makes_no_sense_is_refused(profile: Profile) -> None:
    await profile.tell(event("track", "ann", message="m1"))
    for wrong in (
        {"title": "x"},
        {"title": "", "due": "2027-01-01T00:00:00Z"},
        {"title": "x", "due": "2027-01-01T00:00:00"},
    ):
        assert (await profile.ask("POST", "customers/user:ann/tasks", 422, json=wrong))["detail"]
    assert (await profile.ask("GET", "tasks?cursor=x", 422))["detail"]
    assert (await profile.ask("POST", "tasks/018f0000-0000-7000-8000-000000000000/done", 404))["detail"]
