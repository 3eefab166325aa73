"""Which rows transactions may meet on: a customer's own, or those of their partition. And who writes which topic."""

import importlib

import pytest
from sqlalchemy import Table

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import SERVICES, TOPICS, read_by, written_by

#: Written by hand over REST, by the framework, or by no fold: their keys say nothing about partitions.
OTHERS = {
    "profile": {
        "segments",
        "segment_versions",
        "computed_traits",
        "computed_trait_versions",
        "segment_fill",
        "tickets",
        "erasure_answers",
        "tombstones",
    },
    "rewards": {"programmes"},
    "triggers": {"workspace", "hooks", "hook_versions", "tickets", "old_secrets", "message_tombstones"},
    "metrics": {"fits", "tickets"},
}
#: `shared` is where partitions are meant to meet: what customers share is exact only if they wait for each other.
FRAMEWORK = {
    "positions",
    "dead_letters",
    "commands",
    "rulebooks",
    "rulebook_positions",
    "identifiers",
    "shared",
    "erasures",
}


def tables(service: str) -> list[Table]:
    written_by_hand = FRAMEWORK | OTHERS.get(service, set())
    metadata = importlib.import_module(f"services.{service}.models").metadata
    return [table for table in metadata.tables.values() if table.name not in written_by_hand]


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "ingest"])
def test_rows_that_partitions_would_share_have_the_partition_in_their_key(service: str) -> None:
    """A total that all of them added to would make the folds queue up; a customer's rows can be distributed by the customer."""
    found = tables(service)
    assert found
    for table in found:
        key = [column.name for column in table.primary_key.columns]
        of_customer = key[0] == ("id" if table.name == "customers" else "customer")
        assert of_customer or "partition" in key, f"{table.fullname} has the key {key}"


def test_each_topic_has_one_writer_after_whom_it_is_named() -> None:
    """Two writers of one topic would give out the same offsets."""
    for service in SERVICES:
        topic = written_by(service)
        assert topic.split(".")[0] == service
        assert (service == "ingest") == (read_by(service) == [])
    assert len({topic.writer for topic in TOPICS}) == len(TOPICS) == len(SERVICES)
    assert {topic.name for topic in TOPICS if topic.writer == "profile"} == {JOURNAL}
