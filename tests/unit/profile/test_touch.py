"""How customers came: channels from campaigns and referrers, in whatever order events arrive."""

from itertools import permutations
from typing import Any

import msgspec
import pytest

from services.profile.domain.touch import VISIT, Context, Touch, acquired, earlier, later, read
from tests.unit.profile.world import World, said


def touch(**context: Any) -> Touch | None:
    raw = {name: msgspec.Raw(msgspec.json.encode(context[name])) for name in context}
    parts = [raw.get(name, msgspec.Raw()) for name in Context._fields]
    return read(Context(*parts), 0)


@pytest.mark.parametrize(
    ("context", "channel"),
    [
        ({"campaign": {"source": "google", "medium": "cpc", "name": "spring"}}, "paid"),
        ({"campaign": {"source": "facebook", "medium": "paid-social"}}, "paid"),
        ({"campaign": {"source": "june", "medium": "Email"}}, "mail"),
        ({"campaign": {"source": "newsletter"}}, "mail"),
        ({"campaign": {"source": "instagram", "medium": "influencer"}}, "influencer"),
        ({"campaign": {"source": "instagram", "medium": "x9"}}, "social"),
        ({"campaign": {"source": "ourblog", "medium": "blog"}}, "content"),
        ({"campaign": {"source": "google", "medium": "organic"}}, "search"),
        ({"campaign": {"source": "acme", "medium": "affiliate"}}, "referral"),
        ({"campaign": {"name": "spring"}}, "referral"),
        ({"page": {"url": "https://shop.example/", "referrer": "https://www.google.de/"}}, "search"),
        ({"page": {"url": "https://shop.example/?gclid=1", "referrer": "https://www.google.de/"}}, "paid"),
        ({"page": {"referrer": "https://t.co/x"}}, "social"),
        ({"page": {"referrer": "https://mail.google.com/"}}, "mail"),
        ({"page": {"referrer": "https://ann.substack.com/p/1"}}, "content"),
        ({"referrer": {"url": "https://news.example.org/a"}}, "referral"),
        ({"page": {"url": "https://shop.example/", "referrer": "https://www.shop.example/a"}}, None),
        ({"page": {"url": "https://shop.example/", "referrer": "https://pay.shop.example/"}}, None),
        ({"page": {"url": "https://shop.example/"}}, None),
        ({"page": "home", "campaign": [1], "referrer": 3}, None),
        ({"page": {"url": 3, "referrer": ["x"]}, "campaign": {"source": {"a": 1}}}, None),
        ({"page": {"referrer": "https://[broken"}}, None),
    ],
)
def test_channels(context: dict[str, Any], channel: str | None) -> None:
    found = touch(**context)
    assert (found and found.channel) == channel


def test_who_is_touched_after_their_first_visit_came_directly() -> None:
    mail = Touch(VISIT + 1, "mail")
    assert acquired(None, 0) == acquired(mail, 0) == "direct"
    assert acquired(mail, 1) == "mail"


def test_of_touches_at_one_moment_it_is_always_the_same() -> None:
    one, other = Touch(1, "mail", "a"), Touch(1, "mail", "b")
    assert earlier(one, other) == earlier(other, one) == one
    assert later(one, other) == later(other, one) == other
    assert earlier(None, one) == later(one, None) == one


def test_first_and_last_touch_do_not_depend_on_the_order_of_arrival() -> None:
    def campaign(source: str) -> dict[str, Any]:
        return {"campaign": {"source": source, "medium": "cpc"}}

    told = [
        said("m1", "page", 0, anonymousId="a", context=campaign("first")),
        said("m2", "page", 5, anonymousId="a", context={"page": {"url": "https://shop.example/"}}),
        said("m3", "page", 9, anonymousId="a", context=campaign("last")),
        said("m4", "identify", 7, userId="u", anonymousId="a", traits={"plan": "gold"}, context=campaign("between")),
    ]
    states = []
    for order in permutations(told):
        world = World().tell_all(order)
        state = world.of("user:u")
        assert state.first_touch is not None
        assert state.last_touch is not None
        assert (state.first_touch.source, state.last_touch.source) == ("first", "last")
        assert state.channel == "paid"
        assert world.journal[-1][1]["data"]["customer"]["channel"] in ("paid", "direct")
        states.append(state.traits["plan"])
    assert {(each.text, each.source) for each in states} == {(b'"gold"', "test")}


def test_a_merge_keeps_the_earliest_and_the_latest_touch() -> None:
    def page(message: str, minute: int, source: str, **who: str) -> bytes:
        return said(message, "page", minute, context={"campaign": {"source": source, "medium": "email"}}, **who)

    told = [page("m1", 3, "u1", userId="u"), page("m2", 1, "a1", anonymousId="a"), page("m3", 9, "a2", anonymousId="a")]
    state = World().tell_all([*told, said("m4", minute=4, userId="u", anonymousId="a")]).of("user:u")
    assert state.first_touch is not None
    assert state.last_touch is not None
    assert (state.first_touch.source, state.last_touch.source, state.channel) == ("a1", "a2", "mail")
