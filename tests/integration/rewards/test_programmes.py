"""Programmes over REST: drafts, versions, exactly one live; and from which record on it holds."""

import asyncio
import uuid
from typing import Any

import pytest

from libs.common.errors import Unavailable
from services.rewards.settings import Settings as RewardsSettings
from services.rewards.wake_hints import declare
from tests.integration.rewards.service import ANN, BEN, PROGRAMME, Rewards, order, serving
from tests.support import eventually


def giving(points: int, **parts: Any) -> dict[str, Any]:
    return {"name": f"Gives {points}", "earning": [{"id": "each", "earn": {"points": points}}], **parts}


async def test_a_published_version_never_changes(rewards: Rewards) -> None:
    made = (await rewards.client.post("/v1/programmes", json=PROGRAMME)).json()
    path = f"/v1/programmes/{made['id']}"
    assert (made["version"], made["status"], made["live_version"], made["edited_by"]) == (1, "draft", None, "marta")
    edited = await rewards.client.put(path, json={**PROGRAMME, "name": "Rapport Club"})
    assert (edited.json()["version"], edited.json()["name"]) == (1, "Rapport Club")
    published = (await rewards.client.post(f"{path}/publish")).json()
    assert (published["version"], published["status"], published["live_version"]) == (1, "live", 1)
    assert (await rewards.client.post(f"{path}/publish")).json() == published
    again = (await rewards.client.put(path, json=giving(1))).json()
    assert (again["version"], again["status"], again["live_version"]) == (2, "draft", 1)
    assert (await rewards.get(f"programmes/{made['id']}", version=1)) == published
    await rewards.client.post(f"{path}/publish")
    assert (await rewards.get(f"programmes/{made['id']}", version=1))["status"] == "retired"
    assert (await rewards.get(f"programmes/{made['id']}"))["live_version"] == 2


async def test_exactly_one_programme_is_live(rewards: Rewards) -> None:
    drafts = [(await rewards.client.post("/v1/programmes", json=giving(number))).json() for number in (1, 2, 3, 4)]
    answers = await asyncio.gather(*(rewards.client.post(f"/v1/programmes/{draft['id']}/publish") for draft in drafts))
    assert {answer.status_code for answer in answers} == {200}
    page = await rewards.get("programmes", limit=3)
    rest = await rewards.get("programmes", limit=3, cursor=page["next"])
    listed = [*page["items"], *rest["items"]]
    assert [each["id"] for each in listed] == [draft["id"] for draft in reversed(drafts)]
    assert rest["next"] is None
    assert sorted(each["status"] for each in listed) == ["live", "retired", "retired", "retired"]
    retired = next(each for each in listed if each["status"] == "retired")
    refused = await rewards.client.post(f"/v1/programmes/{retired['id']}/publish")
    assert refused.status_code == 409
    assert "retired: PUT it again" in refused.json()["detail"]


async def test_publishing_between_two_records_divides_them(rewards: Rewards) -> None:
    await rewards.journal(order(ANN, "before anything", 1))
    await rewards.publish(giving(10))
    await rewards.journal(order(ANN, "first", 1), order(BEN, "first of Ben", 1))
    await rewards.publish(giving(1000))
    await rewards.journal(order(ANN, "second", 1))
    lots = (await rewards.get(f"customers/{ANN}/points"))["lots"]
    assert [(lot["order_id"], lot["points"]) for lot in lots] == [("first", 10), ("second", 1000)]
    logged = await rewards.database.pool.fetch(
        "SELECT number, count(*) FROM rewards.rulebook_positions GROUP BY number ORDER BY number"
    )
    assert [tuple(row) for row in logged] == [(1, 8), (2, 8)]


async def test_publishing_in_mid_stream_puts_every_record_under_exactly_one(rewards: Rewards) -> None:
    """What each order gave follows from its offset and the logged positions alone: a replay would give the same."""
    await rewards.publish(giving(1))
    people = [str(uuid.uuid4()) for _ in range(16)]

    async def buy() -> None:
        for number in range(40):
            await rewards.append(*(order(person, f"{person}-{number}", 1) for person in people))

    async def change() -> None:
        for points in (10, 100, 1000):
            await rewards.publish(giving(points))

    await asyncio.gather(buy(), change())
    await rewards.caught_up()
    positions = await rewards.database.pool.fetch(
        "SELECT number, partition, next FROM rewards.rulebook_positions ORDER BY number DESC"
    )
    records = await rewards.database.pool.fetch('SELECT partition, "offset", value FROM log."profile.journal"')
    given = {fact["causationid"]: fact["data"]["points"] for fact in await rewards.facts()}
    assert len(given) == 640
    for partition, offset, value in records:
        book = next(row["number"] for row in positions if row["partition"] == partition and row["next"] <= offset)
        id = value.partition(b'"id":"')[2].partition(b'"')[0].decode()
        assert given[id] == 10 ** (book - 1)
    await rewards.check()


async def test_what_is_wrong_with_a_programme_is_told(rewards: Rewards) -> None:
    rule = {"id": "r", "earn": {"points": 1}}
    answer = await rewards.client.post(
        "/v1/programmes", json={"name": "x", "earning": [{**rule, "when": "event.nme == 'x' &&"}]}
    )
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["errors"][0] | {"message": ""} == {
        "at": "earning[0].when", "id": "r", "line": 1, "column": problem["errors"][0]["column"], "message": ""
    }  # fmt: skip
    assert "the condition of r is wrong at line 1" in problem["detail"]
    for body, said in (
        ({"name": "x", "earning": [rule, rule]}, "earning[1].id: the id r is taken by an earlier one"),
        (
            {"name": "x", "earning": [{"id": "r", "earn": {"points": 1, "per": 1, "of": "weight"}}]},
            "weight is no amount",
        ),
        ({"name": "x", "earnings": []}, "body.earnings"),
        ({}, "body.name"),
    ):
        answer = await rewards.client.post("/v1/programmes", json=body)
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]
    assert (await rewards.get("programmes"))["items"] == []


async def test_programmes_that_there_are_not(rewards: Rewards) -> None:
    made = (await rewards.client.post("/v1/programmes", json=PROGRAMME)).json()
    nobody = uuid.uuid4()
    for method, path in (
        ("GET", f"/v1/programmes/{nobody}"),
        ("POST", f"/v1/programmes/{nobody}/publish"),
        ("PUT", f"/v1/programmes/{nobody}"),
        ("GET", f"/v1/programmes/{made['id']}?version=2"),
    ):
        answer = await rewards.client.request(method, path, json=PROGRAMME if method == "PUT" else None)
        assert answer.status_code == 404
        assert "programme" in answer.json()["detail"]


async def test_what_the_programme_in_force_is_about_is_awaited(
    rewards: Rewards, rewards_settings: RewardsSettings
) -> None:
    """And so it is where a process of a release that does not know of it has published the programme."""
    badges = [{"id": "critic", "name": "Critic", "on": "Review Written"}]
    orders = ["Order Cancelled", "Order Completed", "Order Refunded"]

    async def awaited() -> list[str]:
        return await awaited_by(rewards)

    assert await awaited() == []
    await rewards.publish(giving(1))
    assert await awaited() == orders
    levelled = {"id": "played", "on": "Level Finished", "earn": {"points": 1}}
    await rewards.publish({**giving(2), "earning": [levelled], "badges": badges})
    assert await awaited() == ["Level Finished", *orders, "Review Written"]
    await rewards.database.pool.execute("DELETE FROM log.wake_hints")
    async with serving(rewards_settings):

        async def declared() -> bool:
            return await awaited() == ["Level Finished", *orders, "Review Written"]

        await eventually(declared)


async def awaited_by(rewards: Rewards) -> list[str]:
    rows = await rewards.database.pool.fetch("SELECT name FROM log.wake_hints WHERE service = 'rewards' ORDER BY 1")
    return [row[0] for row in rows]


async def test_what_a_newer_release_has_published_changes_nothing_and_ends_nothing(rewards: Rewards) -> None:
    await rewards.publish(giving(1))
    before = await awaited_by(rewards)
    await rewards.database.pool.execute(
        "UPDATE rewards.programmes SET content = (content::jsonb || '{\"novel\": 1}')::text WHERE status = 'live'"
    )
    async with rewards.database.transaction() as tx:
        with pytest.raises(Unavailable, match="of another release"):  # which rounds put off
            await declare(tx)
    assert await awaited_by(rewards) == before
