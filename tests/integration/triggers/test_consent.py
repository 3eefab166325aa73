"""Consent at the moment of the event, and once more just before delivery."""

from libs.common.contracts.records import Snapshot
from libs.common.replay.run import compared
from services.triggers.replay import replayable
from services.triggers.settings import Settings
from tests.integration.triggers.receiver import Receiver
from tests.integration.triggers.service import (
    ANN,
    BEN,
    CONSENTS,
    HOOK,
    Triggers,
    consented,
    deselected,
    known_as,
    order,
    serving,
)
from tests.integration.triggers.test_webhooks import hook_to, published, tried
from tests.support import eventually

SAID_NOTHING = Snapshot(id=ANN)


async def test_without_consent_nothing_is_sent_and_why_says_so(triggers: Triggers) -> None:
    hook = await triggers.hook()
    service = await triggers.hook(name="Confirmation", action={**HOOK["action"], "purpose": "service"})
    await triggers.journal(order(ANN, "1", snapshot=SAID_NOTHING))
    answer = await triggers.why(hook)
    assert (answer["verdict"], answer["details"]["reason"]) == ("withheld", "no_consent")
    assert answer["sentence"].endswith("was withheld: the customer has not consented to marketing.")
    assert await triggers.verdict(service) == "sent"
    await triggers.journal(order(ANN, "2"))
    assert await triggers.verdict(hook) == "sent"
    assert (await triggers.get("triggers/summary"))["withheld"] == {"no_consent": 1}
    shown = await triggers.get(f"hooks/{hook}")
    assert shown["action"]["purpose"] == "marketing"


async def test_a_workspace_may_send_to_those_who_said_nothing(triggers_settings: Settings) -> None:
    async with serving(triggers_settings.model_copy(update={"without_consent": "send"})) as triggers:
        hook = await triggers.hook()
        denied = Snapshot(id=BEN, consent={"marketing": False})
        await triggers.journal(order(ANN, "1", snapshot=SAID_NOTHING), order(BEN, "2", snapshot=denied))
        assert await triggers.verdict(hook) == "sent"
        answer = await triggers.why(hook, BEN)
        assert "the customer has denied marketing for the channel inbox" in answer["sentence"]


async def test_a_denial_stops_what_is_queued(triggers: Triggers) -> None:
    with Receiver(500, 200) as receiver:
        hook = await published(triggers, receiver.url)
        await triggers.append(order(ANN, "1"))
        await eventually(lambda: tried(triggers, hook, 1))
        await triggers.journal(consented(ANN, "1", {"marketing": True, "marketing.webhook": False}))
        await triggers.due_now()
        answer = await triggers.expect(hook, "withheld")
        assert answer["details"]["reason"] == "no_consent"
        assert "denied marketing before it could be sent" in answer["sentence"]
        assert list(receiver.ids.values()) == [1]


async def test_a_deselection_stops_what_is_queued_but_no_service_message(triggers: Triggers) -> None:
    with Receiver(500, 500, 200) as receiver:
        hook = await published(triggers, receiver.url)
        receipt = hook_to(receiver.url, "Receipt")
        service = await triggers.hook(**{**receipt, "action": {**receipt["action"], "purpose": "service"}})
        await triggers.append(order(ANN, "1"))
        await eventually(lambda: tried(triggers, hook, 1))
        await eventually(lambda: tried(triggers, service, 1))
        await triggers.journal(deselected(ANN, "1"))
        await triggers.due_now()
        answer = await triggers.expect(hook, "withheld")
        assert answer["details"]["reason"] == "deselected"
        assert "de-selected the customer before it could be sent" in answer["sentence"]
        await triggers.expect(service, "sent")


async def test_a_trial_is_of_a_customer_who_consents(triggers: Triggers) -> None:
    made = await triggers.post("hooks", HOOK, 201)
    path, sample = f"hooks/{made['id']}/test", {"properties": {"revenue": 60}}
    assert (await triggers.post(path, {"event": sample}))["verdict"] == "would_send"
    tried = await triggers.post(path, {"event": sample, "consent": {"marketing": False}})
    assert (tried["verdict"], tried["details"]["reason"]) == ("withheld", "no_consent")
    await triggers.journal(order(ANN, "1", snapshot=known_as(ANN, "ann")), consented(ANN, "1", {"marketing": False}))
    tried = await triggers.post(path, {"customer": "user:ann", "event": sample})
    assert tried["details"]["reason"] == "no_consent"
    await triggers.post(path, {"customer": "user:ann", "consent": CONSENTS}, 422)


async def test_a_replay_gives_the_same_consents_and_messages(triggers_settings: Settings) -> None:
    async with serving(triggers_settings) as triggers:
        await triggers.hook()
        await triggers.journal(
            order(ANN, "1", snapshot=SAID_NOTHING),
            consented(ANN, "1", CONSENTS),
            order(ANN, "2"),
            consented(ANN, "2", {}),
        )
    found = await compared(replayable(triggers_settings), triggers_settings, triggers_settings)
    assert found.equal, found
