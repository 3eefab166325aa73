"""What may be written in a hook, and what is said about what may not."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.errors import Invalid
from services.triggers.delivery.addresses import Addresses
from services.triggers.domain.event_catalogue import paths, warnings
from services.triggers.domain.hook import Hook, duration, in_words
from services.triggers.domain.validation import refuse_faulty

INBOX = {"channel": "inbox", "text": "Hello"}


def a_hook(**changes: Any) -> Hook:
    return Hook.model_validate({"name": "h", "trigger": {"event": "Order Completed"}, "action": INBOX, **changes})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "-1h", "0s", "1.5h", "367d", "1y", "٣d", "99999999w"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"a duration is a number"):
        duration(text)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": {"channel": "webhook", "text": "x"}}, "a webhook needs a url"),
        ({"action": {**INBOX, "url": "https://shop.example/"}}, "only a webhook has a url"),
        ({"action": {"channel": "webhook", "text": "x", "url": "ftp://shop.example"}}, "an address such as"),
        (
            {"action": {"channel": "webhook", "text": "x", "url": "https://a:b@shop.example"}},
            "leave user and password out",
        ),
        ({"action": {"channel": "webhook", "text": "x", "url": "https://shop.example:99999/"}}, "not an address"),
        ({"action": {"channel": "webhook", "text": "x", "url": "https://shop.example/a b"}}, "an address such as"),
        ({"action": {"channel": "pigeon", "text": "x"}}, "inbox"),
        ({"limits": {"cap": {"count": 0, "period": "1d"}}}, "greater than or equal to 1"),
        ({"limits": {"cap": {"count": 1, "period": "soon"}}}, "a duration is a number"),
        ({"limits": {"freshnes": "1h"}}, "Extra inputs"),
    ],
)
def test_shapes_that_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        a_hook(**changes)


@pytest.mark.parametrize(
    ("changes", "at", "line", "said"),
    [
        ({"trigger": {"event": "E", "when": "event.properties.revenue >"}}, "trigger.when", 1, ""),
        ({"trigger": {"event": "E", "when": "true &&\nevnt.name == 'x'"}}, "trigger.when", 2, "evnt"),
        ({"action": {**INBOX, "text": "Hello\n{{ customer.traits.name"}}, "action.text", 2, ""),
        ({"action": {**INBOX, "title": "{% if %}x{% endif %}"}}, "action.title", 1, ""),
        (
            {"action": {**INBOX, "text": "Hi {{ custmer.traits.name }}"}},
            "action.text",
            1,
            "custmer.traits.name is unknown",
        ),
        ({"action": {**INBOX, "text": "Hi {{ customer.name }}"}}, "action.text", 1, "write customer.traits.name"),
        (
            {"trigger": {"event": "Order Completed", "when": "event.propertes.revenue > 50"}},
            "trigger.when",
            1,
            "did you mean event.properties?",
        ),
    ],
)
def test_faults_name_their_part_and_place(changes: dict[str, Any], at: str, line: int, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        refuse_faulty(a_hook(**changes), Addresses(()).allowed)
    (fault,) = refused.value.members["errors"]
    assert (fault["at"], fault["line"]) == (at, line)
    assert said in fault["message"]
    assert f"{at} at line {line}" in refused.value.detail


def test_a_webhook_to_an_own_address_is_refused_unless_it_is_allowed() -> None:
    local = a_hook(action={"channel": "webhook", "text": "x", "url": "http://127.0.0.1:8080/"})
    with pytest.raises(Invalid, match=r"127\.0\.0\.1 is not a public address"):
        refuse_faulty(local, Addresses(()).allowed)
    refuse_faulty(local, Addresses((ip_network("127.0.0.0/8"),)).allowed)


def test_a_hook_that_would_start_itself_is_warned_of() -> None:
    (said,) = warnings(a_hook(trigger={"event": "Message Sent"}), set(), set())
    assert "would start it again" in said
    others = a_hook(trigger={"event": "Message Sent", "when": "event.properties.hook == '1'"})
    assert warnings(others, set(), set()) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.5, "less than a second"), (1, "1 second"), (119.9, "1 minute"), (7300, "2 hours"), (325.4 * 86400, "325 days")],
)
def test_a_time_in_words(seconds: float, said: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == said


def test_warnings_name_the_nearest_that_was_seen() -> None:
    names = {"Order Completed", "Product Viewed"}
    typo = a_hook(trigger={"event": "Order Complete"})
    assert warnings(typo, names, set()) == [
        "No event named 'Order Complete' was seen in the last 30 days: did you mean 'Order Completed'?"
    ]
    misspelt = a_hook(trigger={"event": "Order Completed", "when": "event.properties.revenu > 5"})
    assert warnings(misspelt, names, {"revenue", "order_id"}) == [
        "No Order Completed of the last 30 days had the property 'revenu': did you mean 'revenue'?"
    ]
    fine = a_hook(trigger={"event": "Order Completed", "when": "event.properties.shipping.city == 'Graz'"})
    assert warnings(fine, names, {"shipping", "shipping.city"}) == []
    fact = a_hook(trigger={"event": "Badge Earned"}, action={**INBOX, "text": "{{ event.properties.nme }}"})
    assert warnings(fact, set(), set()) == [
        "No Badge Earned of the last 30 days had the property 'nme': did you mean 'name'?"
    ]


def test_paths_of_properties() -> None:
    nested = {
        "revenue": 1,
        "shipping": {"city": "Graz", "a": {"b": {"c": 1}}},
        "products": [{"price": 1}],
        "x" * 300: 1,
    }
    assert list(paths(nested)) == ["revenue", "shipping", "shipping.city", "shipping.a", "shipping.a.b", "products"]
