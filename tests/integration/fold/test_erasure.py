"""An erasure in the fold: where the customer was, nothing is, and nothing brings them back."""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database
from libs.common.errors import NotFound
from libs.common.fold.customers import NOBODY
from libs.common.fold.dead_letters import DeadLetters
from libs.common.log.append import Outgoing
from libs.common.log.partition import partition_of
from libs.common.log.redaction import is_redacted, redact_keys
from tests.integration.fold.toy import Running
from tests.integration.fold.world import CUSTOMERS, bound, customer_in, did, journal, left, merged, seen, states
from tests.support import eventually, journal_record

ERASURE = str(uuid.UUID(int=7, version=4))


def erased(customer: str, *also: str) -> Outgoing:
    data: dict[str, Any] = {"erasure": ERASURE, "also": list(also)}
    return journal_record(customer, data, id=f"erased-{customer}", type="customer.erased.v1", source="/profile")


async def test_an_erasure_empties_the_customer_and_those_merged_into_them(running: Running) -> None:
    """It comes in the middle of a batch; others of its partition go on."""
    ann, old, other = customer_in(3), customer_in(5), customer_in(3, 1)
    told = [
        bound(ann, "1", "ann"),
        did(old, "2"),
        left(old, ann),
        merged(ann, old),
        did(ann, "3", fail="no"),
        did(other, "4"),
    ]
    await journal(running.database, *told, erased(ann, old), did(other, "5"))
    await eventually(running.caught_up)
    assert await remembered(running.database) == {other}
    assert await seen(running.database, other, ["4", "5"])
    rows = await running.database.pool.fetch("SELECT id, merged_into, facts FROM toy.customers WHERE facts = 0")
    assert {str(row["id"]) for row in rows if row["merged_into"] == NOBODY} == {ann, old}
    assert not await running.database.pool.fetch("SELECT 1 FROM toy.identifiers")
    assert await DeadLetters(running.fold).page(waiting=False, limit=10, cursor=None) == []
    (erasure,) = await running.database.pool.fetch("SELECT id, customers, erased FROM toy.erasures")
    assert [str(id) for id in (erasure["id"], *erasure["customers"])] == [ERASURE, ann, old]
    assert msgspec.json.decode(erasure["erased"]) == {"identifiers": 1, "commands": 0, "dead_letters": 1}
    for gone in (ann, old, "user:ann"):
        with pytest.raises(NotFound):
            async with running.database.connection() as tx:
                await running.handler.customers.resolve(tx, gone)


async def remembered(database: Database) -> set[str]:
    """The customers of whom anything is known."""
    return {id for id, state in (await states(database)).items() if state.seen}


async def test_what_comes_after_an_erasure_changes_nothing(running: Running) -> None:
    customer = CUSTOMERS[0]
    await journal(running.database, did(customer, "1"), erased(customer))
    await journal(running.database, did(customer, "2"), erased(customer))
    await eventually(running.caught_up)
    assert await remembered(running.database) == set()
    assert len(await running.database.pool.fetch("SELECT 1 FROM toy.erasures")) == 1


async def test_redacted_records_keep_their_places_and_are_skipped(running: Running) -> None:
    """Also by a reader that has not read them yet."""
    customer, other = customer_in(2), customer_in(2, 1)
    await running.fold.stop()
    await journal(running.database, did(customer, "1"), did(other, "2"), did(customer, "3"))
    async with running.database.transaction() as tx:
        now = datetime(2026, 3, 1, tzinfo=UTC)
        assert await redact_keys(tx, "profile.journal", [customer], uuid.UUID(ERASURE), now) == 2
        assert await redact_keys(tx, REWARDS, [customer], uuid.UUID(ERASURE), now) == 0
    rows = await running.database.pool.fetch('SELECT "offset", key, value FROM log."profile.journal" ORDER BY "offset"')
    assert [(row["offset"], row["key"], is_redacted(row["value"])) for row in rows] == [
        (0, customer, True), (1, other, False), (2, customer, True)
    ]  # fmt: skip
    async with Running(running.database) as again:
        await eventually(again.caught_up)
        assert (await states(again.database)).keys() == {other}


async def test_an_erasure_is_never_dead_lettered(running: Running) -> None:
    """One that cannot be read stops its partition, so that nobody is told that somebody was forgotten who was not."""
    customer = CUSTOMERS[0]
    broken = journal_record(customer, {"also": []}, id="broken", type="customer.erased.v1", source="/profile")
    await journal(running.database, did(customer, "1"), broken)
    tp = running.fold.tps[partition_of(customer, 8)]

    async def stopped() -> bool:
        return tp in running.fold.failure_log.stopped

    await eventually(stopped)
    assert await DeadLetters(running.fold).page(waiting=True, limit=10, cursor=None) == []
