"""Consent: which statement wins, whatever the order; what a merge keeps; and what an event says."""

from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.consent import allows, read_key
from libs.common.contracts.ids import derived
from libs.common.errors import Conflict
from services.profile.domain.commands import Call, ConfirmConsent, StateConsent, decide
from services.profile.domain.consent import (
    MOST,
    Choice,
    Proof,
    Statement,
    allowed,
    changed,
    merged,
    stated,
    statuses,
)
from services.profile.domain.identity import LoadedCustomer
from services.profile.domain.state import Customer, micros
from tests.unit.profile.world import NOON, World, said

KEYS = ("marketing", "marketing.email", "profiling")
made = st.tuples(
    st.builds(
        Statement,
        key=st.sampled_from(KEYS),
        status=st.sampled_from(["granted", "denied", "pending"]),
        carried=st.booleans(),
    ),
    st.integers(0, 5),
)


def after(*statements: tuple[Statement, int]) -> dict[str, Choice]:
    consent: dict[str, Choice] = {}
    for statement, at in statements:
        consent = stated(consent, [statement], at).consent
    return consent


def grant(at: int, key: str = "marketing", carried: bool = False) -> tuple[Statement, int]:
    return Statement(key, "granted", carried), at


def deny(at: int, key: str = "marketing", carried: bool = False) -> tuple[Statement, int]:
    return Statement(key, "denied", carried), at


def ask(at: int, key: str = "marketing") -> tuple[Statement, int]:
    return Statement(key, "pending"), at


@given(st.lists(made, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_arrival_makes_no_difference(statements: list[tuple[Statement, int]], luck: Any) -> None:
    shuffled = list(statements)
    luck.shuffle(shuffled)
    assert after(*shuffled) == after(*statements)


@given(st.lists(made, max_size=6), st.integers(0, 6))
def test_a_merge_is_as_if_one_customer_had_said_all(statements: list[tuple[Statement, int]], cut: int) -> None:
    one, other = after(*statements[:cut]), after(*statements[cut:])
    assert merged(one, other) == merged(other, one) == after(*statements)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([grant(1), deny(2)], {"marketing": "denied"}),
        ([deny(1), grant(2)], {"marketing": "granted"}),
        ([grant(1), deny(1)], {"marketing": "denied"}),
        ([grant(1, "marketing.email"), deny(2)], {"marketing": "denied", "marketing.email": "denied"}),
        ([deny(1), grant(2, "marketing.email")], {"marketing": "denied", "marketing.email": "granted"}),
        ([deny(1), grant(2, carried=True)], {"marketing": "denied"}),  # an app's old setting undoes no denial
        ([grant(1), deny(2, carried=True)], {"marketing": "denied"}),  # but it may withdraw
        ([grant(1), deny(2, carried=True), grant(3)], {"marketing": "granted"}),
        ([grant(1, carried=True), deny(2, carried=True)], {"marketing": "denied"}),
        ([ask(1)], {"marketing": "pending"}),
        ([ask(1), grant(2)], {"marketing": "granted"}),
        ([ask(1), deny(2)], {"marketing": "denied"}),
        ([deny(1), ask(2)], {"marketing": "pending"}),
        ([grant(1), ask(2)], {"marketing": "granted"}),
        ([ask(1, "marketing.email"), deny(2)], {"marketing": "denied", "marketing.email": "denied"}),
    ],
)
def test_what_holds(statements: list[tuple[Statement, int]], expected: dict[str, str]) -> None:
    for order in permutations(statements):
        assert statuses(after(*order)) == expected


def test_a_snapshot_says_what_is_granted_and_nothing_of_what_waits() -> None:
    consent = after(grant(1), deny(2, "marketing.sms"), ask(3, "profiling"))
    assert allowed(consent) == {"marketing": True, "marketing.sms": False}
    assert allows(allowed(consent), "marketing", "inbox") is True
    assert allows(allowed(consent), "marketing", "sms") is False
    assert allows(allowed(consent), "profiling", "sms") is None


def test_a_change_is_another_status() -> None:
    before = after(grant(1), grant(1, "marketing.email"))
    assert changed(before, after(grant(1), grant(1, "marketing.email"), grant(5))) == {}
    assert changed(before, stated(before, [Statement("marketing", "denied")], 2).consent) == {
        "marketing": "denied",
        "marketing.email": "denied",
    }


def test_the_limit_refuses_further_purposes_and_a_merge_keeps_denials() -> None:
    full = after(*[grant(1, f"p{number}") for number in range(MOST)])
    change = stated(full, [Statement("one-more", "granted"), Statement("p0", "denied")], 2)
    assert (change.refused, len(change.consent), statuses(change.consent)["p0"]) == (1, MOST, "denied")
    both = merged(full, after(*[deny(1, f"q{number}") for number in range(10)]))
    assert len(both) == MOST
    assert sum(status == "denied" for status in statuses(both).values()) == 10


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Marketing", "marketing"),
        ("marketing.email", "marketing.email"),
        ("marketing.all", "marketing"),
        ("Do Not Sell", "do_not_sell"),
        ("C0004", "c0004"),
        ("", None),
        ("a.b.c", None),
        ("-", None),
        ("x" * 65, None),
        ("service", None),
        ("service.email", None),
        ("süß", None),
    ],
)
def test_the_names_of_apps(name: str, key: str | None) -> None:
    assert read_key(name) == key


def chosen(message: str, minute: int, event: str = "Clicked", user: str = "u", **preferences: Any) -> bytes:
    consent = {"categoryPreferences": preferences, "version": "2026-03"}
    return said(message, minute=minute, userId=user, event=event, context={"consent": consent})


PREFERENCE = "Segment Consent Preference Updated"


def test_an_event_carries_consent_and_its_change_is_journalled_after_it() -> None:
    world = World().tell_all([chosen("m1", 0, marketing=True), chosen("m2", 1, marketing=True)])
    names = [(record["type"], record["data"].get("status")) for _, record in world.journal]
    assert names == [("track.v1", None), ("consent.changed.v1", "granted"), ("track.v1", None)]
    event, change, _ = (record for _, record in world.journal)
    assert event["data"]["customer"]["consent"] == change["data"]["customer"]["consent"] == {"marketing": True}
    assert (change["causationid"], change["data"]["source"], change["data"]["text_version"]) == (
        event["id"],
        "/apps/test",
        "2026-03",
    )
    (row,) = world.consents  # the second event only repeats it
    assert (row.purpose, row.channel, row.status, row.carried, row.at) == ("marketing", "all", "granted", True, NOON)


def test_the_preference_event_is_a_statement_and_old_settings_do_not_undo_it() -> None:
    world = World().tell_all(
        [chosen("m1", 0, marketing=True), chosen("m2", 1, PREFERENCE, marketing=False), chosen("m3", 2, marketing=True)]
    )
    assert statuses(world.of("user:u").consent) == {"marketing": "denied"}
    assert [(row.status, row.carried) for row in world.consents] == [("granted", True), ("denied", False)]


def locked(state: Customer) -> LoadedCustomer:
    return LoadedCustomer.stored(UUID(int=1), state, 1, None)


def test_a_customer_without_consent_has_none_in_the_snapshot() -> None:
    world = World().tell_all([said("m", userId="u")])
    assert "consent" not in world.journal[0][1]["data"]["customer"]


@pytest.mark.parametrize(
    "consent",
    [None, "yes", 1, [], {}, {"categoryPreferences": []}, {"categoryPreferences": {"": True, "marketing": "yes"}}],
)
def test_what_is_no_consent_costs_no_event(consent: object) -> None:
    world = World().tell_all([said("m", userId="u", context={"consent": consent})])
    assert (world.of("user:u").consent, world.counts["events"]) == ({}, 1)
    assert (world.counts["refused:consents"] > 0) == (consent is not None)


def test_of_two_spellings_in_one_event_the_denial_counts() -> None:
    both = {"consent": {"categoryPreferences": {"Marketing": False, "marketing": True}}}
    world = World().tell_all([said("m", userId="u", context=both)])
    assert statuses(world.of("user:u").consent) == {"marketing": "denied"}


def test_a_merge_takes_the_later_statement_and_says_so() -> None:
    device = {"consent": {"categoryPreferences": {"marketing": False, "ads": True}}}
    world = World().tell_all(
        [
            said("m1", anonymousId="a", minute=5, event=PREFERENCE, context=device),
            chosen("m2", 1, PREFERENCE, marketing=True, ads=True),
            said("m3", "identify", 6, userId="u", anonymousId="a"),
        ]
    )
    assert statuses(world.of("user:u").consent) == {"ads": "granted", "marketing": "denied"}
    types = [record["type"] for _, record in world.journal][-4:]
    assert types == ["customer.left.v1", "customer.merged.v1", "consent.changed.v1", "identify.v1"]
    change = world.journal[-2][1]["data"]
    assert (change["purpose"], change["status"], change["source"]) == ("marketing", "denied", "merge")
    assert len({record["id"] for _, record in world.journal}) == len(world.journal)


def call() -> Call:
    return Call(derived("call"), NOON, NOON, None)


def test_a_link_confirms_what_was_asked_for_until_it_is_denied() -> None:
    requested = micros(NOON) - 10
    asked = Customer(consent=after((Statement("marketing", "pending"), requested)))
    link = ConfirmConsent("marketing", requested, Proof("confirmed link"))
    decision = decide(locked(asked), link, call())
    assert decision.answer["consent"] == {"marketing": "granted"}
    assert asked.consent == after((Statement("marketing", "pending"), requested))
    assert decision.consent is not None
    again = decide(locked(Customer(consent=decision.consent.consent)), link, call())
    assert (again.facts, again.consent, again.answer["consent"]) == ([], None, {"marketing": "granted"})
    withdrawn = Customer(consent=after(ask(requested), deny(requested + 1)))
    with pytest.raises(Conflict, match="denied after the link was made"):
        decide(locked(withdrawn), link, call())


def test_a_command_beyond_the_limit_is_refused() -> None:
    full = Customer(consent=after(*[grant(1, f"p{number}") for number in range(MOST)]))
    with pytest.raises(Conflict, match="at most"):
        decide(locked(full), StateConsent({"one-more": "granted"}, Proof("api")), call())
