"""Webhooks: signed, tried again, stopped; one endpoint never slows another; nothing goes to addresses of our own."""

import signal
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from standardwebhooks.webhooks import Webhook

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from services.triggers.settings import Settings
from tests.client import append_to
from tests.integration.triggers.receiver import Receiver
from tests.integration.triggers.service import ANN, BEN, Triggers, order, serving
from tests.process import ServiceProcess
from tests.support import eventually


def webhook(url: str) -> dict[str, Any]:
    return {
        "channel": "webhook",
        "title": "Thanks",
        "text": "Thank you for ${{ event.properties.revenue }}.",
        "url": url,
    }


async def test_a_webhook_is_signed_and_carries_the_message(triggers: Triggers) -> None:
    with Receiver() as receiver:
        made = await triggers.post("hooks", hook_to(receiver.url), 201)
        assert made["secret"].startswith("whsec_")
        assert "secret" not in await triggers.get(f"hooks/{made['id']}")
        await triggers.post(f"hooks/{made['id']}/publish")
        await triggers.journal(order(ANN, "1"))
        answer = await triggers.expect(made["id"], "sent")
        (headers, body) = receiver.came[0]
        payload = Webhook(made["secret"]).verify(body, headers)
        assert headers["webhook-id"] == answer["details"]["message"] == payload["data"]["message"]
        assert headers["host"] == urlsplit(receiver.url).netloc
        assert payload["data"] | {"message": ""} == {
            "message": "", "hook": made["id"], "customer": ANN, "event": "Order Completed", "title": "Thanks",
            "text": "Thank you for $60.",
        }  # fmt: skip
        assert payload["type"] == "message"
        assert (await triggers.get(f"customers/{ANN}/inbox"))["items"] == []


def hook_to(url: str, name: str = "Tell the shop", **changes: Any) -> dict[str, Any]:
    return {"name": name, "trigger": {"event": "Order Completed"}, "action": webhook(url), **changes}


async def published(triggers: Triggers, url: str, name: str = "Tell the shop") -> str:
    made = await triggers.post("hooks", hook_to(url, name), 201)
    await triggers.post(f"hooks/{made['id']}/publish")
    return str(made["id"])


async def test_errors_are_tried_again_with_the_same_id(triggers: Triggers) -> None:
    with Receiver(500, (429, {"retry-after": "3600"}), (302, {"location": "http://127.0.0.1:1/"}), 204) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        for attempt, said in ((1, "500"), (2, "429"), (3, "302, a redirect")):
            answer = await eventually(partial(tried, triggers, hook, attempt))
            assert said in answer["sentence"]
            await triggers.due_now()
        await triggers.expect(hook, "sent")
        assert list(receiver.ids.values()) == [4]
        assert await triggers.types() == ["message.queued.v1", "message.sent.v1"]


async def tried(triggers: Triggers, hook: str, attempts: int) -> Any:
    answer = await triggers.why(hook)
    details = answer["details"]
    return answer if details["attempts"] == attempts and "tried again" in answer["sentence"] else None


async def test_retry_after_is_honoured(triggers: Triggers) -> None:
    with Receiver((503, {"retry-after": "7200"}), 200) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        await eventually(lambda: tried(triggers, hook, 1))
        next_at = await triggers.database.pool.fetchval("SELECT next_at FROM triggers.deliveries")
        assert 7000 < (next_at - datetime.now(UTC)).total_seconds() < 7300


async def test_it_gives_up_after_ten_attempts(triggers: Triggers) -> None:
    with Receiver(500) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        for attempt in range(1, 10):
            await eventually(partial(tried, triggers, hook, attempt))
            await triggers.due_now()
        answer = await triggers.expect(hook, "failed")
        assert "answered 500 (attempt 10)" in answer["sentence"]
        assert list(receiver.ids.values()) == [10]
        failed = (await triggers.facts())[-1]
        assert (failed["type"], failed["data"]["error"]) == (
            "message.failed.v1",
            "the endpoint answered 500 (attempt 10)",
        )
        assert (await triggers.get("triggers/summary"))["failed"] == 1


async def test_gone_pauses_the_hook(triggers: Triggers) -> None:
    with Receiver(410) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        await triggers.expect(hook, "failed")
        shown = await triggers.get(f"hooks/{hook}")
        assert (shown["status"], shown["paused_reason"]) == ("paused", "the endpoint answered 410 Gone")
        await triggers.journal(order(BEN, "2"))
        assert await triggers.verdict(hook, BEN) == "paused"
        assert list(receiver.ids.values()) == [1]


async def test_a_hanging_endpoint_does_not_slow_another(triggers: Triggers) -> None:
    with Receiver() as dead, Receiver() as alive:
        dead.hanging.set()
        to_dead = await published(triggers, dead.url, "Dead")
        customers = [f"{number:08d}-1111-8111-8111-111111111111" for number in range(30)]
        await triggers.append(*(order(customer, customer) for customer in customers))
        await eventually(lambda: _all_came(dead, 4))
        to_alive = await published(triggers, alive.url, "Alive")
        await triggers.append(order(ANN, "1"))
        await triggers.expect(to_alive, "sent")
        assert await triggers.verdict(to_dead, customers[-1]) == "queued"
        answer = await eventually(lambda: _timed_out(triggers, to_dead, customers))
        assert "no answer within 5 seconds" in answer["sentence"]


async def _all_came(receiver: Receiver, count: int) -> bool:
    return len(receiver.came) >= count


async def _timed_out(triggers: Triggers, hook: str, customers: list[str]) -> Any:
    for customer in customers:
        answer = await triggers.why(hook, customer)
        if answer["details"].get("detail"):
            return answer
    return None


async def test_pausing_stops_what_is_queued(triggers: Triggers) -> None:
    with Receiver(500, 200) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        await eventually(lambda: tried(triggers, hook, 1))
        await triggers.post(f"hooks/{hook}/pause")
        answer = await triggers.expect(hook, "withheld")
        assert answer["details"]["reason"] == "paused"
        await triggers.post(f"hooks/{hook}/resume")
        await triggers.due_now()
        await triggers.settled()
        assert list(receiver.ids.values()) == [1]
        assert await triggers.types() == ["message.queued.v1", "message.withheld.v1"]


async def test_opting_out_stops_what_is_queued(triggers: Triggers) -> None:
    with Receiver(500, 200) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        await eventually(lambda: tried(triggers, hook, 1))
        await triggers.post(f"customers/{ANN}/messages/off")
        await triggers.due_now()
        await triggers.expect(hook, "opted_out")
        assert list(receiver.ids.values()) == [1]


async def test_nothing_goes_to_addresses_of_our_own(triggers_settings: Settings) -> None:
    """Names that lead to this machine are found out when they are resolved."""
    strict = triggers_settings.model_copy(update={"webhook_allow": (ip_network("10.99.0.0/16"),)})
    with Receiver() as receiver:
        async with serving(strict) as triggers:
            port = urlsplit(receiver.url).port
            hooks = [await published(triggers, f"http://{host}:{port}/", host) for host in ("localhost", "127.1")]
            await triggers.append(order(ANN, "1"))
            for hook in hooks:
                answer = await triggers.expect(hook, "failed")
                assert "resolves to" in answer["sentence"]
                assert "not a public address" in answer["sentence"]
    assert not receiver.came


async def test_killed_between_the_receivers_yes_and_our_record(
    triggers_settings: Settings, database: Database, tmp_path: Path
) -> None:
    """The one possible second copy, with the same id; recorded once."""
    with Receiver() as receiver:
        async with serving(triggers_settings) as triggers:
            hook = await published(triggers, receiver.url)
        process = ServiceProcess(
            "triggers",
            triggers_settings.dsn,
            tmp_path / "log",
            RAPPORT_TRIGGERS_WEBHOOK_ALLOW="127.0.0.0/8",
            RAPPORT_FAILPOINTS="delivery.sent=kill",
        )
        await append_to(database, JOURNAL, order(ANN, "1"))
        assert await process.ended() == -signal.SIGKILL
        assert list(receiver.ids.values()) == [1]
        async with serving(triggers_settings) as triggers:
            assert await triggers.verdict(hook) == "queued"
            await triggers.database.pool.execute("UPDATE triggers.deliveries SET next_at = now()")
            await triggers.expect(hook, "sent")
            assert list(receiver.ids.values()) == [2]
            assert receiver.came[0][1] == receiver.came[1][1]
            assert await triggers.types() == ["message.queued.v1", "message.sent.v1"]


async def test_a_message_that_no_attempt_gets_an_outcome_of_fails(triggers: Triggers) -> None:
    """As when the process dies at each attempt: leases are counted, so it ends."""
    with Receiver(500) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        await eventually(partial(tried, triggers, hook, 1))
        await triggers.database.pool.execute("UPDATE triggers.deliveries SET attempts = 10")
        await triggers.due_now()
        answer = await triggers.expect(hook, "failed")
        assert "10 attempts ended without an outcome" in answer["sentence"]
        assert list(receiver.ids.values()) == [1]
