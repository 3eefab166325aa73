"""Who is who: the rules one by one, with their limits."""

from uuid import UUID

import pytest

from services.profile.domain.events import read
from services.profile.domain.identity import new_customer_id
from services.profile.domain.state import IDENTIFIERS, MERGES
from tests.unit.profile.world import World, said


def test_a_new_userid_claims_the_anonymous_customer_it_comes_with() -> None:
    world = World().tell_all([said("m1", anonymousId="a"), said("m2", "identify", userId="u", anonymousId="a")])
    assert world.of("user:u").identifiers == {"anon:a": 1, "user:u": 1}
    assert (world.counts["claims"], world.counts["merges"]) == (1, 0)
    assert world.journal[1][1]["data"]["customer"]["bound"] == [{"kind": "user", "value": "u", "version": 1}]


def test_two_existing_customers_are_merged_when_one_is_anonymous() -> None:
    world = World().tell_all(
        [said("m1", userId="u"), said("m2", anonymousId="a"), said("m3", userId="u", anonymousId="a")]
    )
    assert [record["type"] for _, record in world.journal[2:]] == ["customer.left.v1", "customer.merged.v1", "track.v1"]
    assert world.of("anon:a").identifiers == {"user:u": 1, "anon:a": 2}
    assert world.of("anon:a").merged == [world.journal[1][0]]


def test_a_device_of_another_user_follows_the_event() -> None:
    world = World().tell_all([said("m1", userId="u1", anonymousId="a"), said("m2", userId="u2", anonymousId="a")])
    assert world.of("user:u1").identifiers == {"user:u1": 1}
    assert world.of("user:u2").identifiers == {"user:u2": 1, "anon:a": 2}
    world.tell(said("m3", userId="u1", anonymousId="a"))
    assert world.of("user:u1").identifiers == {"user:u1": 1, "anon:a": 3}
    assert world.counts["merges"] == 0


def test_an_alias_merges_the_device_it_names() -> None:
    world = World().tell_all(
        [said("m1", anonymousId="p"), said("m2", userId="u"), said("m3", "alias", userId="u", previousId="p")]
    )
    assert set(world.of("user:u").identifiers) == {"user:u", "anon:p"}


def test_an_alias_with_two_devices_merges_both_with_facts_of_their_own() -> None:
    told = [said("m1", anonymousId="p"), said("m2", anonymousId="a"), said("m3", userId="u")]
    world = World().tell_all([*told, said("m4", "alias", userId="u", previousId="p", anonymousId="a")])
    facts = [record for _, record in world.journal if record["source"] == "/profile"]
    assert len({record["id"] for record in facts}) == len(facts) == 4
    assert len({record["stamp"] for record in facts if record["type"] == "customer.merged.v1"}) == 2


def test_two_identified_customers_are_never_merged() -> None:
    world = World().tell_all(
        [said("m1", userId="u1"), said("m2", userId="u2"), said("m3", "alias", userId="u2", previousId="u1")]
    )
    assert len(world.living) == 2
    event = read(said("m3", "alias", userId="u2", previousId="u1"))
    assert event is not None
    assert event.renamed == "user:u1"


def test_the_id_of_a_customer_follows_from_the_record_that_makes_them() -> None:
    world = World().tell_all([said("m1", anonymousId="a")])
    assert world.journal[0][0] == str(new_customer_id(UUID(world.journal[0][1]["id"]), "anon:a"))


def test_no_merge_above_the_limit_but_the_event_is_journalled() -> None:
    world = World().tell_all([said("m0", userId="u")])
    for number in range(MERGES + 1):
        world.tell(
            said(f"a{number}", anonymousId=f"a{number}"), said(f"b{number}", userId="u", anonymousId=f"a{number}")
        )
    assert (world.counts["merges"], world.counts["refused:merges"]) == (MERGES, 1)
    assert len(world.living) == 2
    assert world.journal[-1][0] == str(world.working_set.by_ref["user:u"])


def test_no_binding_above_the_limit_but_the_event_is_journalled() -> None:
    world = World()
    world.tell(*(said(f"m{number}", userId="u", anonymousId=f"a{number}") for number in range(IDENTIFIERS)))
    assert len(world.of("user:u").identifiers) == IDENTIFIERS
    assert world.counts["refused:identifiers"] == 1
    assert world.working_set.holder(f"anon:a{IDENTIFIERS - 1}") is None
    world.tell(said("later", anonymousId=f"a{IDENTIFIERS - 1}"))
    assert len(world.living) == 2


@pytest.mark.parametrize("blocked", ["0000-0000", "-1", "null", "Anonymous", " ", " None ", "{{userId}}"])
def test_blocked_ids_count_as_absent(blocked: str) -> None:
    event = read(said("m", userId="u", anonymousId=blocked))
    assert event is not None
    assert event.refs == ("user:u",)
    with pytest.raises(ValueError, match="about nobody"):
        read(said("m", userId=blocked))
