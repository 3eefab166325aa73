"""Which messages follow, and which are withheld."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from libs.common.contracts.input import Input
from libs.common.contracts.profile import ConsentChanged, CustomerDeselected, CustomerReselected
from libs.common.contracts.records import Fact
from libs.common.contracts.triggers import MessageQueued, MessageSent, MessageWithheld, OptedIn, OptedOut
from libs.common.rules.rule_event import RuleEvent
from services.triggers.decider import TriggersDecider
from services.triggers.domain.decide import decide
from services.triggers.domain.evolve import absorb, evolve
from services.triggers.domain.inputs import OptIn, OptOut
from services.triggers.domain.rules import Rules
from services.triggers.domain.state import Recipient
from tests.unit.triggers.examples import NOON, hook, ordered, rules

DAY = timedelta(days=1)


DECIDER = TriggersDecider(8, ZoneInfo("UTC"), without_consent=False)


def step(recipient: Recipient, input: Input, rules: Rules) -> list[Fact]:
    decision = decide(recipient, input, rules)
    evolve(recipient, input, decision)
    return decision.facts


def outcome(recipient: Recipient, input: Input, rules: Rules) -> list[str]:
    """`sent` or `queued`, or why withheld, of each hook that matched."""
    said = []
    for fact in step(recipient, input, rules):
        assert isinstance(fact, MessageSent | MessageQueued | MessageWithheld)
        said.append(
            fact.reason if isinstance(fact, MessageWithheld) else "sent" if isinstance(fact, MessageSent) else "queued"
        )
    return said


def command(body: OptOut | OptIn) -> Input:
    return Input("c", type(body).__name__, "/triggers", NOON, NOON, 0, False, None, body)


def test_a_match_sends_one_message_with_an_id_that_follows_from_the_record() -> None:
    live = rules(hook())
    (first,), (again,) = (decide(Recipient(), ordered(), live).facts for _ in range(2))
    assert isinstance(first, MessageSent)
    assert first == again
    (other,) = decide(Recipient(), ordered(id="r2"), live).facts
    assert isinstance(other, MessageSent)
    assert other.message != first.message


WEBHOOK = {"channel": "webhook", "url": "https://shop.example/hooks", "text": "Thank you"}
NIGHT = {"from": "22:00", "to": "08:00"}


def test_only_what_must_wait_is_queued() -> None:
    night = NOON + timedelta(hours=11)
    live = rules(hook("inbox"), hook("out", action=WEBHOOK), hook("quiet", limits={"quiet_hours": NIGHT}))
    assert outcome(Recipient(), ordered(), live) == ["sent", "queued", "sent"]
    assert outcome(Recipient(), ordered(night), live) == ["sent", "queued", "queued"]


def test_an_import_of_history_sends_nothing_whatever_the_hook_accepts() -> None:
    live = rules(hook("new"), hook("old", limits={"history": True}))
    fresh = ordered()
    assert outcome(Recipient(), msgspec.structs.replace(fresh, imported=True), live) == ["imported", "imported"]
    recipient = Recipient()
    step(recipient, msgspec.structs.replace(fresh, imported=True), live)
    assert recipient.sent == {}


@pytest.mark.parametrize(
    ("lag", "expected"),
    [
        (timedelta(hours=1), ["sent", "sent", "sent", "sent"]),
        (timedelta(hours=1, microseconds=1), ["queued", "sent", "sent", "sent"]),
        (timedelta(hours=10), ["queued", "sent", "sent", "queued"]),  # the night has come
        (timedelta(hours=20, microseconds=1), ["queued", "sent", "sent", "sent"]),  # and is over
        (timedelta(days=1, microseconds=1), ["queued", "queued", "sent", "sent"]),
        (timedelta(hours=-1), ["sent", "sent", "sent", "sent"]),
    ],
)
def test_delivery_judges_by_the_clock_what_a_fold_that_lags_decides(lag: timedelta, expected: list[str]) -> None:
    live = rules(
        hook("hour"), hook("day", limits={"freshness": "1d"}), hook("all", limits={"history": True}),
        hook("quiet", limits={"history": True, "quiet_hours": NIGHT}),
    )  # fmt: skip
    recipient, late = Recipient(), Recipient()
    assert outcome(recipient, ordered(), live) == ["sent"] * 4
    assert outcome(late, ordered(), replace(live, at=NOON + lag)) == expected
    assert recipient == late


@pytest.mark.parametrize(
    ("when", "properties", "expected"),
    [
        ("event.properties.revenue > 50", {"revenue": 51}, ["sent"]),
        ("event.properties.revenue > 50", {"revenue": 50.0}, []),
        ("event.properties.revenue > 50", {}, []),
        ("event.properties.revenue > 50", {"revenue": "n/a"}, []),
        ("customer.traits.plan == 'gold'", {}, ["sent"]),
        ("event.name == 'Order Completed' && event.type == 'track'", {}, ["sent"]),
    ],
)
def test_a_condition_decides_and_one_that_fails_is_no_match(
    when: str, properties: dict[str, Any], expected: list[str]
) -> None:
    live = rules(hook(trigger={"event": "Order Completed", "when": when}))
    assert outcome(Recipient(), ordered(properties=properties, traits={"plan": "gold"}), live) == expected


def test_who_opted_out_gets_nothing_until_they_opt_in() -> None:
    recipient, live = Recipient(), rules(hook())
    assert step(recipient, command(OptOut("ann")), live) == [OptedOut(by="ann")]
    assert step(recipient, command(OptOut("ann")), live) == []
    assert outcome(recipient, ordered(), live) == ["opted_out"]
    assert step(recipient, command(OptIn("ann")), live) == [OptedIn(by="ann")]
    assert step(recipient, command(OptIn("ann")), live) == []
    assert outcome(recipient, ordered(), live) == ["sent"]


@pytest.mark.parametrize(
    ("purpose", "consent", "without", "expected"),
    [
        ("marketing", {}, False, "no_consent"),
        ("marketing", {}, True, "sent"),
        ("marketing", {"marketing": True}, False, "sent"),
        ("marketing", {"marketing": False}, True, "no_consent"),
        ("marketing", {"marketing": True, "marketing.inbox": False}, True, "no_consent"),
        ("marketing", {"marketing": False, "marketing.inbox": True}, False, "sent"),
        ("marketing", {"marketing": True, "marketing.webhook": False}, False, "sent"),
        ("Newsletter", {"marketing": True}, False, "no_consent"),
        ("Newsletter", {"newsletter": True}, False, "sent"),
        ("service", {}, False, "sent"),
    ],
)
def test_a_message_needs_the_consent_of_its_purpose(
    purpose: str, consent: dict[str, bool], without: bool, expected: str
) -> None:
    live = rules(hook(action={"channel": "inbox", "purpose": purpose, "text": "Hello"}))
    live = replace(live, without_consent=without)
    assert outcome(Recipient(), ordered(consent=consent), live) == [expected]


def test_a_change_of_consent_is_remembered_for_delivery_and_may_start_a_hook() -> None:
    live = rules(hook(trigger={"event": "Consent Changed", "when": "customer.consent.marketing"}))
    data = {"purpose": "marketing", "customer": {"id": "c1", "consent": {"marketing": True}}}
    body = RuleEvent("Consent Changed", ConsentChanged.TYPE, msgspec.Raw(msgspec.json.encode(data)))
    input = Input("r1", ConsentChanged.TYPE, "/profile", NOON, NOON, 1, False, None, body)
    recipient = Recipient()
    assert outcome(recipient, input, live) == ["sent"]
    assert recipient.consent == {"marketing": True}
    absorb(other := Recipient(consent={"marketing": False}), recipient)
    assert other.consent == {"marketing": False}


def test_who_is_deselected_gets_service_messages_only() -> None:
    def selection(type: str) -> Input:
        data = {"reason": "pays late", "by": "mary", "customer": {"id": "c1", "consent": {"marketing": True}}}
        body = RuleEvent("Said", type, msgspec.Raw(msgspec.json.encode(data)))
        return Input("r1", type, "/profile", NOON, NOON, 1, False, None, body)

    service = {"channel": "inbox", "purpose": "service", "text": "Hello"}
    live, recipient = rules(hook("sale"), hook("receipt", action=service)), Recipient()
    step(recipient, selection(CustomerDeselected.TYPE), live)
    assert outcome(recipient, ordered(), live) == ["deselected", "sent"]
    absorb(survivor := Recipient(), recipient)
    assert outcome(survivor, ordered(), live) == ["deselected", "sent"]
    step(survivor, selection(CustomerReselected.TYPE), live)
    assert outcome(survivor, ordered(), live) == ["sent", "sent"]
    for type in (CustomerDeselected.TYPE, CustomerReselected.TYPE, ConsentChanged.TYPE):
        assert not DECIDER.stateless(RuleEvent("Said", type, msgspec.Raw()), live)
    assert DECIDER.stateless(RuleEvent("Note Added", "note.added.v1", msgspec.Raw()), live)


def test_history_sends_only_where_the_hook_says_so() -> None:
    live = rules(hook("fresh"), hook("day", limits={"freshness": "1d"}), hook("all", limits={"history": True}))
    assert outcome(Recipient(), ordered(late=timedelta(hours=1)), live) == ["sent"] * 3
    assert outcome(Recipient(), ordered(late=timedelta(hours=2)), live) == ["history", "sent", "sent"]
    assert outcome(Recipient(), ordered(late=timedelta(days=400)), live) == ["history", "history", "sent"]
    assert outcome(Recipient(), ordered(late=timedelta(hours=-2)), live) == ["sent"] * 3


def test_a_cap_holds_in_a_rolling_period_by_when_the_events_happened() -> None:
    recipient, live = Recipient(), rules(hook(limits={"cap": {"count": 2, "period": "30d"}, "history": True}))
    days = [0, 10, 29, 30, 41, 45]
    said = [outcome(recipient, ordered(NOON + day * DAY, id=str(day)), live) for day in days]
    assert said == [["sent"], ["sent"], ["cap"], ["sent"], ["sent"], ["cap"]]


def test_the_workspaces_cap_counts_all_hooks_in_the_customers_day() -> None:
    live = rules(hook("a"), hook("b"), hook("c"), daily_cap=2)
    recipient = Recipient()
    assert outcome(recipient, ordered(), live) == ["sent", "sent", "workspace_cap"]
    assert outcome(recipient, ordered(NOON + DAY / 2), live) == ["sent", "sent", "workspace_cap"]
    assert outcome(recipient, ordered(NOON + DAY / 3), live) == ["workspace_cap"] * 3
    assert outcome(Recipient(), ordered(), rules(hook(), daily_cap=0)) == ["workspace_cap"]


@pytest.mark.parametrize(
    ("traits", "context", "workspace", "day"),
    [
        ({"timezone": "Pacific/Kiritimati"}, {"timezone": "UTC"}, "UTC", "2026-03-02"),
        ({}, {"timezone": "Pacific/Kiritimati"}, "UTC", "2026-03-02"),
        ({}, {}, "Pacific/Kiritimati", "2026-03-02"),
        ({}, {}, "UTC", "2026-03-01"),
        ({"timezone": "Mars/Olympus"}, {"timezone": "../../etc/passwd"}, "UTC", "2026-03-01"),
        ({"timezone": 7}, {"timezone": "America"}, "UTC", "2026-03-01"),
        ({"timezone": "x" * 5000}, {"timezone": "a\0b"}, "UTC", "2026-03-01"),
    ],
)
def test_a_customers_day(traits: dict[str, Any], context: dict[str, Any], workspace: str, day: str) -> None:
    recipient = Recipient()
    step(recipient, ordered(traits=traits, context=context), rules(hook(), zone=workspace))
    assert recipient.days == {day: 1}


@pytest.mark.parametrize(
    ("text", "traits", "expected"),
    [
        ("Hello {{ customer.traits.first_name }},", {"first_name": "Ann"}, "Hello Ann,"),
        ("Hello {{ customer.traits.first_name }},", {}, None),
        ("Hello {{ customer.traits.first_name }},", {"first_name": "  "}, None),
        ("Hello {{ customer.traits.first_name | default: 'friend' }},", {}, "Hello friend,"),
    ],
)
def test_a_missing_variable_withholds_and_counts_for_no_cap(
    text: str, traits: dict[str, Any], expected: str | None
) -> None:
    recipient, input = Recipient(), ordered(traits=traits)
    live = rules(hook(action={"channel": "inbox", "text": text}, limits={"cap": {"count": 1, "period": "1d"}}))
    made = decide(recipient, input, live).made["h1"]
    assert outcome(recipient, input, live) == ["missing_variable" if expected is None else "sent"]
    assert made.text == expected
    if expected is None:
        assert "customer.traits.first_name" in str(made.detail)
        assert recipient == Recipient()
