"""Two who edit one programme, over real HTTP."""

import asyncio
from typing import Any

import httpx

from tests.integration.rewards.service import PROGRAMME, Rewards


def named(name: str) -> dict[str, Any]:
    return {**PROGRAMME, "name": name}


async def put(rewards: Rewards, id: str, name: str, tag: str | None) -> httpx.Response:
    headers = {} if tag is None else {"If-Match": tag}
    return await rewards.client.put(f"/v1/programmes/{id}", json=named(name), headers=headers)


async def test_who_edits_what_somebody_else_has_edited_is_told(rewards: Rewards) -> None:
    made = await rewards.client.post("/v1/programmes", json=PROGRAMME)
    id, first = made.json()["id"], made.headers["etag"]
    path = f"/v1/programmes/{id}"
    assert (await rewards.client.get(path)).headers["etag"] == first
    mine = await put(rewards, id, "mine", first)
    theirs = await put(rewards, id, "theirs", first)
    assert (mine.status_code, theirs.status_code) == (200, 412)
    assert mine.json()["version"] == 1  # the draft itself is changed: the version alone would not tell
    assert "version 1 (draft), edited by marta" in theirs.json()["detail"]
    refused = await rewards.client.post(f"{path}/publish", headers={"If-Match": first})
    assert refused.status_code == 412
    assert (await rewards.client.get(path)).json()["status"] == "draft"
    for _ in range(2):
        live = await rewards.client.post(f"{path}/publish", headers={"If-Match": mine.headers["etag"]})
        assert (live.status_code, live.json()["status"], live.json()["name"]) == (200, "live", "mine")
    assert (await put(rewards, id, "too late", mine.headers["etag"])).status_code == 412
    assert (await put(rewards, id, "next", live.headers["etag"])).json()["version"] == 2
    assert (await put(rewards, id, "without", None)).status_code == 200


async def test_of_two_at_once_one_wins_on_a_draft_and_on_a_live_one(rewards: Rewards) -> None:
    made = await rewards.client.post("/v1/programmes", json=PROGRAMME)
    id, tag = made.json()["id"], made.headers["etag"]
    for version in (1, 2):
        answers = await asyncio.gather(*(put(rewards, id, f"{version} {number}", tag) for number in range(6)))
        assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]
        assert (await rewards.get(f"programmes/{id}"))["version"] == version
        tag = (await rewards.client.post(f"/v1/programmes/{id}/publish")).headers["etag"]
