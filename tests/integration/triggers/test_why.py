"""Why, for every verdict; and trying a hook, which changes nothing."""

from datetime import UTC, datetime, timedelta

import httpx

from libs.common.contracts.records import Snapshot, as_imported
from libs.common.log.append import Outgoing
from services.triggers.app import create
from services.triggers.settings import Settings
from tests.client import ready, running, token
from tests.integration.triggers.service import ANN, BEN, CONSENTS, HOOK, Triggers, event, order
from tests.support import eventually, journal_record, keep_open


async def test_who_is_not_known(triggers: Triggers) -> None:
    hook = await triggers.hook()
    for ref in ("user:nobody", "anon:x", "0b0b0b0b-0000-8000-8000-000000000000", "bob", "user:", "x:y"):
        answer = await triggers.why(hook, ref)
        assert answer["verdict"] == "unknown_customer", ref
        assert answer["sentence"].count(". ") == 0


async def test_drafts_versions_and_pauses(triggers: Triggers) -> None:
    await triggers.journal(order(ANN, "0", 10))
    hook = (await triggers.post("hooks", HOOK, 201))["id"]
    assert await triggers.verdict(hook) == "never_published"
    await triggers.post(f"hooks/{hook}/publish")
    answer = await triggers.why(hook)
    assert answer["verdict"] == "no_event"
    assert "last seen: 20" in answer["sentence"]
    await triggers.put(f"hooks/{hook}", {**HOOK, "action": {"channel": "inbox", "text": "Hi"}})
    answer = await triggers.why(hook, version=2)
    assert answer["verdict"] == "another_version"
    assert "version 1" in answer["sentence"]
    await triggers.post(f"hooks/{hook}/pause")
    await triggers.journal(order(ANN, "1"))
    answer = await triggers.why(hook)
    assert answer["verdict"] == "paused"
    assert "paused by marta" in answer["sentence"]
    assert (await triggers.post(f"hooks/{hook}/resume"))["status"] == "live"
    assert await triggers.verdict(hook) == "another_version"
    await triggers.journal(order(ANN, "2"))
    answer = await triggers.expect(hook, "sent")
    assert "not seen yet" in answer["sentence"]
    await triggers.journal(order(ANN, "3", 1))
    answer = await triggers.why(hook)
    assert answer["verdict"] == "condition_false"
    assert "event.properties.revenue > 50 (it was 1" in answer["sentence"]
    assert "the last message was sent at" in answer["sentence"]


async def test_never_seen(triggers: Triggers) -> None:
    hook = await triggers.hook()
    await triggers.journal(event(ANN, "p", "Product Viewed"))
    answer = await triggers.why(hook)
    assert answer["verdict"] == "no_event"
    assert "(last seen: never)" in answer["sentence"]


async def test_conditions(triggers: Triggers) -> None:
    hook = await triggers.hook()
    await triggers.journal(event(ANN, "1"), event(BEN, "2", properties={"revenue": "n/a"}))
    answer = await triggers.why(hook)
    assert answer["verdict"] == "property_absent"
    assert "event.properties.revenue" in answer["sentence"]
    answer = await triggers.why(hook, BEN)
    assert answer["verdict"] == "condition_false"
    assert "'n/a'" in answer["sentence"]


async def test_withheld_by_each_rule(triggers: Triggers) -> None:
    hook = await triggers.hook(limits={"cap": {"count": 1, "period": "30d"}})
    today = datetime.now(UTC)  # of all that the daily cap counts: midnight may come while this runs
    await triggers.journal(order(ANN, "1", time=today), order(ANN, "2", time=today))
    answer = await triggers.why(hook)
    assert (answer["verdict"], answer["details"]["reason"]) == ("withheld", "cap")
    assert "cap of 1 in 30d" in answer["sentence"]
    await triggers.journal(order(BEN, "3", late=timedelta(hours=2)))
    assert (await triggers.why(hook, BEN))["details"]["reason"] == "history"

    everything = await triggers.hook(name="Everything", limits={"history": True})
    await triggers.journal(imported(order(BEN, "3a")))
    answer = await triggers.why(everything, BEN)
    assert answer["details"]["reason"] == "imported"
    assert "imported as history" in answer["sentence"]
    await triggers.post(f"hooks/{everything}/pause")

    await triggers.put("workspace/messages", {"daily_cap": 1})
    other = await triggers.hook(name="Other")
    await triggers.journal(order(ANN, "4", time=today))
    assert (await triggers.why(other))["details"]["reason"] == "workspace_cap"

    await triggers.put("workspace/messages", {"daily_cap": None})
    named = await triggers.hook(name="Named", action={"channel": "inbox", "text": "Hello {{ customer.traits.name }},"})
    await triggers.journal(order(BEN, "5"))
    answer = await triggers.why(named, BEN)
    assert answer["details"]["reason"] == "missing_variable"
    assert "customer.traits.name" in answer["sentence"]

    assert (await triggers.post(f"customers/{BEN}/messages/off"))["messages"] == "off"
    await triggers.journal(order(BEN, "6"))
    assert await triggers.verdict(hook, BEN) == "opted_out"
    summary = await triggers.get("triggers/summary")
    assert summary["withheld"] == {
        "cap": 2, "history": 1, "imported": 2, "missing_variable": 1, "opted_out": 3, "workspace_cap": 1,
    }  # fmt: skip


def imported(record: Outgoing) -> Outgoing:
    return record._replace(value=as_imported(record.value))


async def test_behind_when_nobody_folds(triggers_settings: Settings, triggers: Triggers) -> None:
    """The fold of the partition is held up by a lock: what was asked about is not read yet."""
    hook = await triggers.hook()
    await triggers.journal(order(ANN, "1", 1))
    async with triggers.database.transaction() as tx:
        await keep_open(tx)
        await tx.execute("SELECT 1 FROM triggers.customers WHERE id = $1 FOR UPDATE", ANN)
        await triggers.append(order(ANN, "2"))
        answer = await triggers.why(hook)
        assert answer["verdict"] == "behind"
        assert "still" in answer["sentence"]
        assert answer["details"]["so_far"] == "condition_false"
        assert (await triggers.why(hook, "user:nobody"))["verdict"] == "behind"
    await triggers.expect(hook, "sent")


async def test_hooks_that_start_each_other_end(triggers: Triggers) -> None:
    deep = await triggers.hook(trigger={"event": "Message Queued"}, action={"channel": "inbox", "text": "Deep"})
    await triggers.journal(_fact(ANN, depth=8))
    answer = await triggers.why(deep)
    assert answer["verdict"] == "too_deep"
    await triggers.journal(_fact(BEN, depth=7))
    assert await triggers.verdict(deep, BEN) == "sent"


def _fact(customer: str, depth: int) -> Outgoing:
    data = {"message": "m", "hook": "h", "version": 1, "channel": "inbox"}
    return journal_record(customer, data, id=f"f-{depth}", type="message.queued.v1", source="/triggers", depth=depth,
                          time=datetime.now(UTC), snapshot=Snapshot(id=customer, consent=CONSENTS))  # fmt: skip


async def test_an_unknown_hook_is_not_found(triggers: Triggers) -> None:
    response = await triggers.client.get(f"/v1/hooks/{BEN}/why", params={"customer": ANN})
    assert response.status_code == 404
    assert "There is no hook" in response.json()["detail"]


async def test_a_trial_shows_all_and_changes_nothing(triggers: Triggers) -> None:
    made = await triggers.post("hooks", HOOK, 201)
    path = f"hooks/{made['id']}/test"
    await triggers.journal(order(ANN, "1", 40, snapshot=Snapshot(id=ANN, traits={"name": "Ann"})))
    tried = await triggers.post(path, {"customer": ANN})
    assert (tried["verdict"], tried["condition"]["matched"]) == ("condition_false", False)
    assert tried["condition"]["operands"][0]["values"] == {"event.properties.revenue": 40}
    tried = await triggers.post(path, {"event": {"properties": {"revenue": 60}}})
    assert (tried["verdict"], tried["title"], tried["text"]) == ("would_send", "Thanks", "Thank you for $60.")
    old = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    tried = await triggers.post(path, {"event": {"properties": {"revenue": 60}, "time": old}})
    assert (tried["verdict"], tried["details"]["reason"]) == ("withheld", "history")
    await triggers.put(
        f"hooks/{made['id']}", {**HOOK, "action": {"channel": "inbox", "text": "Hi {{ customer.traits.name }}"}}
    )
    sample = {"properties": {"revenue": 60}}
    assert (await triggers.post(path, {"customer": ANN, "event": sample}))["text"] == "Hi Ann"
    assert (await triggers.post(path, {"event": sample, "traits": {"name": "Bea"}}))["text"] == "Hi Bea"
    assert (await triggers.post(path, {"event": sample}))["details"]["reason"] == "missing_variable"
    assert (await triggers.post(path, {"event": sample, "version": 1}))["text"] == "Thank you for $60."
    await triggers.journal(event(BEN, "2", "Product Viewed"))
    assert (await triggers.post(path, {"customer": BEN}))["verdict"] == "no_event"
    for body, said in (
        ({}, "Give a customer"),
        ({"customer": ANN, "traits": {}}, "leave them out"),
        ({"version": 7, "event": {}}, "no version 7"),
    ):
        response = await triggers.client.post(f"/v1/{path}", json=body)
        assert said in response.json()["detail"]
    assert await triggers.types() == []
    assert (await triggers.get("triggers/summary"))["by_hook"] == {}
    assert (await triggers.get(f"hooks/{made['id']}"))["status"] == "draft"


async def test_a_marketer_may_ask_but_others_may_not(triggers: Triggers) -> None:
    hook = await triggers.hook()
    for scopes, method, path, status in (
        (("hooks:read",), "GET", f"hooks/{hook}/why?customer={ANN}", 200),
        (("hooks:read",), "POST", f"hooks/{hook}/pause", 403),
        (("hooks:read",), "PUT", "workspace/messages", 403),
        (("customers:read",), "GET", f"hooks/{hook}/why?customer={ANN}", 403),
        (("customers:read",), "POST", f"customers/{ANN}/messages/off", 403),
        (("hooks:write",), "GET", f"customers/{ANN}/inbox", 403),
        (("hooks:write",), "GET", "triggers/summary", 403),
        (("hooks:read",), "GET", "triggers/dead-letters", 403),
    ):
        response = await triggers.client.request(method, f"/v1/{path}", headers=token(*scopes))
        assert response.status_code == status, (path, response.text)
    async with httpx.AsyncClient(base_url=triggers.client.base_url, timeout=60) as nobody:
        response = await nobody.get("/v1/hooks")
        assert response.status_code == 401
        assert "token" in response.json()["detail"]


async def test_two_processes_serve_the_same(triggers_settings: Settings, triggers: Triggers) -> None:
    """Partitions and deliveries are shared; each message is sent once."""
    async with running(create(triggers_settings)) as other:
        await eventually(lambda: ready(other))
        hook = await triggers.hook(limits={"history": True})
        customers = [f"{number:08d}-1111-8111-8111-111111111111" for number in range(40)]
        for batch in range(5):
            await triggers.append(*(order(customer, f"{batch}-{customer}") for customer in customers))
        await triggers.settled()
        facts = await triggers.facts()
        assert len(facts) == 200 == len({fact["id"] for fact in facts})
        answer = await other.get(f"/v1/hooks/{hook}/why", params={"customer": customers[7]}, headers=token())
        assert answer.json()["verdict"] == "sent"
