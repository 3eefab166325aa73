"""What a hook makes of a record, in a sentence."""

from datetime import timedelta

from libs.common.rules.rule_event import RuleEvent
from services.triggers.domain.decide import decide
from services.triggers.domain.explain import Explanation, Record, explain
from services.triggers.domain.rules import CompiledHook
from services.triggers.domain.state import Recipient
from tests.unit.triggers.examples import NOON, hook, ordered, rules

BIG = hook(
    trigger={"event": "Order Completed", "when": "event.properties.revenue > 50 && customer.traits.plan == 'gold'"}
)


def explained(given: CompiledHook, recipient: Recipient | None = None, **more: object) -> Explanation:
    input = ordered(**more)  # type: ignore[arg-type]
    assert isinstance(input.body, RuleEvent)
    return explain(given, Record(input.body, input, rules(given)), recipient or Recipient())


def test_a_false_condition_shows_what_it_met() -> None:
    said = explained(BIG, properties={"revenue": 29.33}, traits={"plan": "gold"})
    assert said.verdict == "condition_false"
    assert "event.properties.revenue > 50 (it was 29.33)" in said.sentence
    assert [each["held"] for each in said.details["condition"]["operands"]] == [False, True]


def test_an_absent_property_is_named() -> None:
    said = explained(BIG, traits={"plan": "gold"})
    assert said.verdict == "property_absent"
    assert "event.properties.revenue" in said.sentence


def test_a_rule_that_withholds_is_named() -> None:
    late = explained(hook(), late=timedelta(days=2))
    assert (late.verdict, late.details["reason"]) == ("withheld", "history")
    assert "accepts 1h at most" in late.sentence
    off = explained(hook(), Recipient(off_since=NOON))
    assert off.details["reason"] == "opted_out"
    unasked = explained(hook(), consent={})
    assert unasked.details["reason"] == "no_consent"
    assert "withheld: the customer has not consented to marketing." in unasked.sentence
    denied = explained(hook(), consent={"marketing": False})
    assert "the customer has denied marketing for the channel inbox" in denied.sentence


def test_what_would_be_sent_is_shown_and_nothing_changes() -> None:
    recipient = Recipient()
    said = explained(
        hook(action={"channel": "inbox", "text": "{{ event.properties.revenue }}!"}),
        recipient,
        properties={"revenue": 60},
    )
    assert (said.verdict, said.details["text"]) == ("would_send", "60!")
    assert recipient == Recipient()


def test_it_agrees_with_the_decision() -> None:
    for properties in ({"revenue": 60}, {"revenue": 40}, {}):
        input = ordered(properties=properties, traits={"plan": "gold"})
        decided = decide(Recipient(), input, rules(BIG)).facts
        verdict = explained(BIG, properties=properties, traits={"plan": "gold"}).verdict
        assert (verdict == "would_send") == bool(decided)
