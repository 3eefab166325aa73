"""Inbox messages that are sent in the transaction of the fold: their order, their one fact, and what still waits for delivery."""

import itertools
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Snapshot, decode, spliced
from libs.common.db.pool import Database
from libs.common.log.append import Outgoing
from libs.common.replay.run import compared
from services.triggers.delivery.workers import Delivery
from services.triggers.replay import replayable, same_decision
from services.triggers.settings import Settings
from tests.client import append_to
from tests.integration.triggers.receiver import Receiver
from tests.integration.triggers.service import ANN, BEN, CONSENTS, Triggers, order, serving
from tests.integration.triggers.test_messages import merge
from tests.integration.triggers.test_quiet_hours import now_quiet, over
from tests.integration.triggers.test_webhooks import hook_to
from tests.process import ServiceProcess

BY_ORDER = {"action": {"channel": "inbox", "text": "{{ event.properties.order_id }}"}}
HOURS_AGO = timedelta(hours=2)


async def inbox(triggers: Triggers, customer: str = ANN) -> list[str]:
    """The texts of an inbox, the oldest first; their times rise."""
    rows = await triggers.database.pool.fetch(
        "SELECT text, settled_at FROM triggers.deliveries WHERE customer = $1 AND state = 'sent' ORDER BY settled_at, id",
        customer,
    )
    assert all(one["settled_at"] < other["settled_at"] for one, other in itertools.pairwise(rows))
    items = (await triggers.get(f"customers/{customer}/inbox", limit=200))["items"]
    assert [item["text"] for item in reversed(items)] == [row["text"] for row in rows]
    return [row["text"] for row in rows]


async def test_an_inbox_has_the_order_of_the_records(triggers: Triggers) -> None:
    """Also within a batch, and where another process' clock was ahead."""
    await triggers.hook(**BY_ORDER)
    numbers = [str(number) for number in range(60)]
    await triggers.journal(*(order(customer, number) for number in numbers[:40] for customer in (ANN, BEN)))
    await triggers.database.pool.execute(
        "UPDATE triggers.deliveries SET settled_at = settled_at + interval '1 hour' WHERE customer = $1", ANN
    )
    await triggers.journal(*(order(ANN, number) for number in numbers[40:]))
    assert await inbox(triggers) == numbers
    assert await inbox(triggers, BEN) == numbers[:40]


async def test_what_waited_comes_behind_what_did_not(triggers: Triggers) -> None:
    await triggers.hook(limits={"quiet_hours": now_quiet()}, **BY_ORDER)
    await triggers.hook(name="At once", action={"channel": "inbox", "text": "at once"})
    await triggers.journal(*(order(ANN, str(number)) for number in range(20)))
    await triggers.database.pool.execute(
        "UPDATE triggers.deliveries SET settled_at = settled_at + interval '1 hour' WHERE state = 'sent'"
    )
    await over(triggers)
    await triggers.settled()
    texts = await inbox(triggers)
    assert texts[:20] == ["at once"] * 20
    assert sorted(texts[20:], key=int) == [str(number) for number in range(20)]


async def test_the_same_record_again_changes_nothing(triggers: Triggers) -> None:
    """As when a position is put back: the row is there, and the fact has the same id."""
    hook = await triggers.hook(**BY_ORDER)
    record = order(ANN, "1")
    await triggers.journal(record)
    before = await triggers.database.pool.fetch("SELECT * FROM triggers.deliveries")
    await triggers.journal(record)
    assert await triggers.database.pool.fetch("SELECT * FROM triggers.deliveries") == before
    assert len({fact["id"] for fact in await triggers.facts()}) == 1
    answer = await triggers.why(hook)
    assert (answer["verdict"], answer["details"]["attempts"]) == ("sent", 1)


@pytest.mark.parametrize("where", ["decided", "written", "committed"])
async def test_a_kill_in_the_fold_sends_once(
    triggers_settings: Settings, database: Database, tmp_path: Path, where: str
) -> None:
    async with serving(triggers_settings) as triggers:
        await triggers.hook(**BY_ORDER)
        await triggers.journal(order(ANN, "0", 1))
    failpoint = f"fold.{where}=kill"
    process = ServiceProcess("triggers", triggers_settings.dsn, tmp_path / "log", RAPPORT_FAILPOINTS=failpoint)
    await append_to(database, JOURNAL, order(ANN, "1"))
    assert await process.ended() == -signal.SIGKILL
    async with serving(triggers_settings) as triggers:
        await triggers.journal(order(ANN, "2"))
        assert await inbox(triggers) == ["1", "2"]
        assert await triggers.types() == ["message.sent.v1"] * 2


async def test_delivery_is_woken_for_what_waits_only(triggers: Triggers, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    monkeypatch.setattr(Delivery, "wake", lambda delivery: woken.append(delivery.name))
    await triggers.hook(**BY_ORDER)
    await triggers.journal(order(ANN, "1"), order(BEN, "2"))
    assert await inbox(triggers) == ["1"]
    assert woken == []
    with Receiver() as receiver:
        made = await triggers.post("hooks", hook_to(receiver.url), 201)
        await triggers.post(f"hooks/{made['id']}/publish")
        await triggers.journal(order(ANN, "3"))
        assert woken
        assert list(receiver.ids.values()) == [1]


async def test_a_merge_keeps_them(triggers: Triggers) -> None:
    await triggers.hook(**BY_ORDER)
    await triggers.journal(order(ANN, "1"), order(BEN, "2"), *merge(BEN, ANN), order(ANN, "3"))
    assert sorted(await inbox(triggers)) == ["1", "2", "3"]
    assert await triggers.get(f"customers/{BEN}/inbox") == await triggers.get(f"customers/{ANN}/inbox")


async def test_hooks_on_what_was_sent_start_each_other_and_end(triggers: Triggers) -> None:
    """Each message is told to the journal, as profile does, until none follows."""
    await triggers.hook(**BY_ORDER)
    again = {"channel": "inbox", "text": "{{ event.properties.channel }}"}
    await triggers.hook(name="Again", trigger={"event": "Message Sent"}, action=again)
    await triggers.journal(order(ANN, "1"))
    known: set[str] = set()
    while new := [fact for fact in await triggers.facts() if fact["id"] not in known]:
        known |= {fact["id"] for fact in new}
        await triggers.journal(*(told(fact) for fact in new))
    assert [fact["depth"] for fact in await triggers.facts()] == list(range(1, 9))
    assert await inbox(triggers) == ["1", *["inbox"] * 7]


def told(fact: dict[str, Any]) -> Outgoing:
    """A fact, as profile writes it into the journal."""
    customer = fact["subject"]
    value = spliced(msgspec.json.encode(fact), msgspec.json.encode(Snapshot(id=customer, consent=CONSENTS)))
    return Outgoing(customer, value, decode(value).time)


async def test_a_replay_is_equal_however_late_the_fold_was(triggers_settings: Settings) -> None:
    """Of two orders received in time, one is folded two hours later: delivery judges it by the clock."""
    async with serving(triggers_settings) as triggers:
        await triggers.hook(**BY_ORDER)
        await triggers.hook(name="Night", limits={"quiet_hours": now_quiet()}, **BY_ORDER)
        await triggers.hook(name="Any time", limits={"history": True}, **BY_ORDER)
        await triggers.journal(
            order(ANN, "1"), order(ANN, "2", time=datetime.now(UTC) - HOURS_AGO), order(BEN, "3"), *merge(BEN, ANN)
        )
        await over(triggers)
        await triggers.settled()
        by_hook = (await triggers.get("triggers/summary"))["by_hook"]
        assert (by_hook["Thank you"]["sent"], by_hook["Thank you"]["withheld"]) == (2, {"history": 1})
        assert by_hook["Any time"]["sent"] == 3
        found = await compared(replayable(triggers_settings), triggers_settings, triggers_settings)
        assert found.equal, found
        assert found.facts >= 7


async def test_only_the_clocks_part_is_one_decision(triggers: Triggers) -> None:
    """What was queued and is sent at once; nothing else, as of another message, may differ."""
    await triggers.hook(**BY_ORDER)
    await triggers.journal(order(ANN, "1", time=datetime.now(UTC) - HOURS_AGO), order(ANN, "2"))
    rows = await triggers.database.pool.fetch('SELECT value FROM log."triggers.facts" ORDER BY "offset"')
    by_type = {decode(row["value"]).type: row["value"] for row in rows if b'"causationid":"r-' in row["value"]}
    queued, sent = by_type["message.queued.v1"], by_type["message.sent.v1"]
    same = queued.replace(b"message.queued.v1", b"message.sent.v1")
    assert same_decision(queued, same)
    assert not same_decision(same, queued)
    assert not same_decision(queued, sent)
