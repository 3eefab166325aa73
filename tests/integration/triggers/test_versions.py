"""Two who edit one hook, and secrets that are changed while webhooks go out, over real HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.integration.triggers.receiver import Receiver
from tests.integration.triggers.service import ANN, HOOK, Triggers, order
from tests.integration.triggers.test_webhooks import hook_to, published


def edited(text: str) -> dict[str, Any]:
    return {**HOOK, "action": {"channel": "inbox", "text": text}}


async def put(triggers: Triggers, id: str, text: str, tag: str | None) -> httpx.Response:
    headers = {} if tag is None else {"If-Match": tag}
    return await triggers.client.put(f"/v1/hooks/{id}", json=edited(text), headers=headers)


async def test_who_edits_what_somebody_else_has_edited_is_told(triggers: Triggers) -> None:
    made = await triggers.client.post("/v1/hooks", json=HOOK)
    id, first = made.json()["id"], made.headers["etag"]
    assert (await triggers.client.get(f"/v1/hooks/{id}")).headers["etag"] == first
    mine = await put(triggers, id, "mine", first)
    assert mine.status_code == 200
    assert mine.headers["etag"] != first
    theirs = await put(triggers, id, "theirs", first)
    assert (theirs.status_code, theirs.headers["content-type"]) == (412, "application/problem+json")
    problem = theirs.json()
    assert "version 2, edited by marta at 20" in problem["detail"]
    assert problem["etag"] == mine.headers["etag"]
    assert (await triggers.get(f"hooks/{id}"))["action"]["text"] == "mine"
    # the same again changes nothing, so it may be repeated; any state, or one of several, may be named; or none
    assert (await put(triggers, id, "mine", first)).headers["etag"] == mine.headers["etag"]
    for text, tag in (("third", "*"), ("fourth", None)):
        assert (await put(triggers, id, text, tag)).status_code == 200
    newest = (await triggers.client.get(f"/v1/hooks/{id}")).headers["etag"]
    assert (await put(triggers, id, "fifth", f'"x", {newest}')).status_code == 200
    assert (await put(triggers, id, "sixth", f"W/{newest}")).status_code == 412


async def test_of_two_at_once_one_wins(triggers: Triggers) -> None:
    made = await triggers.client.post("/v1/hooks", json=HOOK)
    id, tag = made.json()["id"], made.headers["etag"]
    answers = await asyncio.gather(*(put(triggers, id, f"text {number}", tag) for number in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 5]
    assert (await triggers.get(f"hooks/{id}"))["version"] == 2


async def test_only_what_was_read_is_published(triggers: Triggers) -> None:
    made = await triggers.client.post("/v1/hooks", json=HOOK)
    id, tag = made.json()["id"], made.headers["etag"]
    await put(triggers, id, "another", None)
    publish = f"/v1/hooks/{id}/publish"
    refused = await triggers.client.post(publish, headers={"If-Match": tag})
    assert refused.status_code == 412
    assert (await triggers.get(f"hooks/{id}"))["status"] == "draft"
    newest = (await triggers.client.get(f"/v1/hooks/{id}")).headers["etag"]
    for _ in range(2):  # again is harmless
        answer = await triggers.client.post(publish, headers={"If-Match": newest})
        assert (answer.status_code, answer.json()["live_version"]) == (200, 2)
    paused = await triggers.client.post(f"/v1/hooks/{id}/pause")
    assert paused.headers["etag"] not in (newest, answer.headers["etag"])


def takes(secret: str, came: tuple[dict[str, str], bytes]) -> bool:
    try:
        Webhook(secret).verify(came[1], came[0])
    except WebhookVerificationError:
        return False
    return True


async def test_a_secret_is_changed_with_an_overlap(triggers: Triggers) -> None:
    with Receiver() as receiver:
        made = await triggers.post("hooks", hook_to(receiver.url), 201)
        id, secrets = made["id"], [made["secret"]]
        await triggers.post(f"hooks/{id}/publish")
        for _ in range(2):
            secrets.append((await triggers.post(f"hooks/{id}/secret", status=201))["secret"])
        await triggers.journal(order(ANN, "1"))
        assert [takes(secret, receiver.came[0]) for secret in secrets] == [True, True, True]
        assert len(receiver.came[0][0]["webhook-signature"].split()) == 3
        # the overlap of the first is over
        await triggers.database.pool.execute(
            "UPDATE triggers.old_secrets SET valid_until = now() - interval '1 s' WHERE secret = $1", secrets[0]
        )
        await triggers.journal(order(ANN, "2"))
        assert [takes(secret, receiver.came[1]) for secret in secrets] == [False, True, True]
        # one has leaked: all old ones end at once
        secrets.append((await triggers.post(f"hooks/{id}/secret", {"overlap": 0}, 201))["secret"])
        await triggers.journal(order(ANN, "3"))
        assert [takes(secret, receiver.came[2]) for secret in secrets] == [False, False, False, True]
        assert len(set(secrets)) == 4
        shown = str(await triggers.get(f"hooks/{id}"))
        assert not any(secret in shown for secret in secrets)


@pytest.mark.parametrize("overlap", [-1, 1e9, "1", None])
async def test_what_no_secret_is_made_for(triggers: Triggers, overlap: Any) -> None:
    inbox = await triggers.hook()
    assert "no secret" in (await triggers.post(f"hooks/{inbox}/secret", status=409))["detail"]
    hook = await published(triggers, "https://shop.example/hooks")
    assert (await triggers.client.post(f"/v1/hooks/{hook}/secret", json={"overlap": overlap})).status_code == 422
    for _ in range(3):
        await triggers.post(f"hooks/{hook}/secret", status=201)
    assert "still valid" in (await triggers.post(f"hooks/{hook}/secret", status=409))["detail"]
