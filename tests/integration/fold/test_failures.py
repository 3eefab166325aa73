"""Which records become dead letters, which never do, and what is kept of those that do."""

import uuid

import asyncpg
import pytest

from libs.common.contracts.input import Input
from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.errors import NotFound, Unavailable
from libs.common.fold.decider import Decision
from libs.common.log.append import Outgoing, append
from libs.common.log.failures import is_poison
from libs.common.log.partition import partition_of
from tests.integration.fold.toy import Counted, Running, Toy
from tests.integration.fold.world import (
    CUSTOMERS,
    NOW,
    PARTITIONS,
    bound,
    customer_in,
    dead,
    did,
    facts,
    journal,
    left,
    merged,
    seen,
    states,
)
from tests.support import eventually, journal_record

ONE = CUSTOMERS[0]
#: 16 KB that do not compress, as a key.
INDEXED = (
    "INSERT INTO toy.identifiers SELECT 'user', string_agg(md5(i::text), ''), gen_random_uuid(), 1"
    " FROM generate_series(1, 500) i"
)


async def test_everything_is_poison(running: Running) -> None:
    await journal(
        running.database, *(did(customer, f"{n}-{customer}", fail="no") for n in range(10) for customer in CUSTOMERS)
    )
    await journal(running.database, did(ONE, "good"))
    await eventually(running.caught_up)
    assert len(await dead(running.database)) == running.fold.dead_lettered == 10 * len(CUSTOMERS)
    assert (await states(running.database))[ONE].seen == ["good"]
    assert await facts(running.database) == []


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("SELECT 1 / 0", "22012"),
        ("INSERT INTO toy.rulebooks VALUES (1, NULL, 'x')", "23502"),
        (INDEXED, "54000"),
    ],
)
async def test_what_postgresql_refuses_is_buried_alone(running: Running, sql: str, state: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as refused:
        async with running.database.transaction() as tx:
            await tx.execute(sql)
    assert refused.value.sqlstate == state
    await journal(running.database, did(ONE, "a"), did(ONE, "b", sql=sql), did(ONE, "c"))
    await eventually(lambda: seen(running.database, ONE, ["a", "c"]))
    assert [id for id, _ in await dead(running.database)] == ["b"]


RAISED = "DO $$ BEGIN RAISE 'so to speak' USING ERRCODE = '{}'; END $$"
AWAY = {"disk full": "53100", "read only": "25006", "deadlock": "40P01", "timeout": "57014", "lock timeout": "55P03"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT 1 FROM toy.nowhere",
        *(pytest.param(RAISED.format(state), id=name) for name, state in AWAY.items()),
    ],
)
async def test_unavailability_buries_nothing(running: Running, sql: str) -> None:
    """The partition stands still, and says so by its lag; the others go on."""
    stands, goes = customer_in(1), customer_in(2)
    await journal(running.database, did(stands, "a"))
    await eventually(running.caught_up)
    await journal(running.database, did(stands, "b", sql=sql), did(stands, "c"), did(goes, "g"))
    await eventually(lambda: seen(running.database, goes, ["g"]))
    await eventually(lambda: _lagging(running))
    assert await seen(running.database, stands, ["a"])
    assert await dead(running.database) == []


async def test_poison_must_recur(running: Running) -> None:
    """A race that PostgreSQL calls a unique violation is over at the second try."""
    await _sequence(running.database)
    once = (
        "INSERT INTO toy.rulebooks SELECT 1, ''::bytea, 'x' WHERE nextval('toy.tries') < 3"
        " UNION ALL SELECT 1, ''::bytea, 'x' WHERE currval('toy.tries') < 3"
    )
    await journal(running.database, did(ONE, "a", sql=once), did(ONE, "b"))
    await eventually(lambda: seen(running.database, ONE, ["a", "b"]))
    assert await dead(running.database) == []


async def test_what_is_too_much_for_one_transaction_is_tried_in_halves(running: Running) -> None:
    """A batch that always takes too long would stand for ever: here no transaction takes more than three records."""
    await _sequence(running.database)
    limited = (
        "DO $$ BEGIN CREATE TEMP TABLE IF NOT EXISTS taken (n int) ON COMMIT DROP; INSERT INTO taken VALUES (1);"
        " IF (SELECT count(*) FROM taken) > 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END $$"
    )
    await journal(running.database, *(did(ONE, str(n), sql=limited) for n in range(30)))
    await eventually(lambda: seen(running.database, ONE, [str(n) for n in range(30)]))
    assert await dead(running.database) == []


async def _sequence(database: Database) -> None:
    async with database.connection() as tx:
        await tx.execute("CREATE SEQUENCE toy.tries")


async def test_a_client_cannot_make_its_record_one_that_stops_the_partition(running: Running) -> None:
    """The envelope says what a record is, not what its data say, however near to the front they are."""
    spoofed = journal_record(ONE, {"event": "Did", "type": "customer.merged.v1", "fail": "no"}, id="x")
    assert spoofed.value.index(b'"type":"customer.merged.v1"') < 400
    await journal(running.database, spoofed, did(ONE, "y"))
    await eventually(lambda: seen(running.database, ONE, ["y"]))
    assert [id for id, _ in await dead(running.database)] == ["x"]


async def test_a_merge_is_never_buried(toy: Database) -> None:
    """Whatever is wrong with it, even where a process died of it: the partition waits for an operator."""
    bad = journal_record(ONE, {"other": "nobody"}, id="m", type="customer.merged.v1", source="/profile")
    await journal(toy, did(ONE, "a"), bad, did(ONE, "b"))
    async with Running(toy) as service:
        await eventually(lambda: _lagging(service))
    async with toy.connection() as tx:
        await tx.execute("UPDATE toy.positions SET crashes = 9")
    async with Running(toy) as service:
        await eventually(lambda: _tried(service))
        assert await _lagging(service)
    assert await dead(toy) == []
    assert await seen(toy, ONE, ["a"])


async def _tried(service: Running) -> bool:
    tp = service.fold.tps[partition_of(ONE, PARTITIONS)]
    return tp in service.fold._started and tp not in service.fold.assignment.busy


async def _lagging(service: Running) -> bool:
    return sum(lag.records for lag in (await service.fold.lag()).values()) == 2


async def test_a_log_that_is_not_set_up_is_no_poison(toy: Database) -> None:
    async with toy.transaction() as tx:
        await tx.execute("DELETE FROM log.heads WHERE topic = 'rewards.facts'")
        with pytest.raises(Unavailable, match="migrate") as missing:
            await append(tx, "rewards.facts", [Outgoing(ONE, b"{}", NOW)], 8)
    assert not is_poison(missing.value)


class Wordy(Toy):
    """Its errors hold what PostgreSQL does not take, and more than anybody reads."""

    def decide(self, state: Counted, input: Input, rules: int) -> Decision:
        raise ValueError("half an emoji: \ud83d, a NUL: \0, and " + "so on " * 1_000)


async def test_any_error_can_be_kept(toy: Database) -> None:
    async with Running(toy, Wordy()) as service:
        await journal(toy, did(ONE, "a"))
        await eventually(service.caught_up)
    ((id, error),) = await dead(toy)
    assert id == "a"
    assert len(error) < 2_010
    assert error.startswith(r"ValueError: half an emoji: \ud83d, a NUL: \0, and so on")


async def test_the_identifiers_of_a_dead_letter_are_kept(running: Running) -> None:
    """No later record says them again: without them nobody would find the customer in this service."""
    await journal(running.database, bound(ONE, "a", "ann", fail="no"), did(ONE, "b"))
    await eventually(lambda: seen(running.database, ONE, ["b"]))
    async with running.database.connection() as tx:
        assert await running.handler.customers.resolve(tx, "user:ann") == uuid.UUID(ONE)
        with pytest.raises(NotFound):
            await running.handler.customers.resolve(tx, "user:bob")


async def test_a_merge_waits_in_the_midst_of_batches_of_poison(running: Running) -> None:
    """One by one, a record that waits is no poison, and those before it are not applied twice."""
    stays, gone, last = customer_in(1), customer_in(2), customer_in(1, 1)
    await journal(
        running.database,
        did(stays, "1"),
        did(stays, "bad", fail="no"),
        did(stays, "2"),
        merged(stays, gone),
        did(stays, "worse", fail="no"),
        did(last, "3"),
    )
    await eventually(lambda: seen(running.database, stays, ["1", "2"]))
    await journal(running.database, did(gone, "g"), left(gone, stays))
    await eventually(lambda: seen(running.database, stays, ["1", "2", "g"]))
    await eventually(lambda: seen(running.database, last, ["3"]))
    assert [id for id, _ in await dead(running.database)] == ["bad", "worse"]


async def test_a_gap_is_told_also_where_nothing_follows_it(running: Running) -> None:
    async with running.database.transaction() as tx:
        await append(tx, JOURNAL, [did(ONE, "a")], 8)
        await tx.execute(f'DELETE FROM log."{JOURNAL}"')
    await eventually(lambda: _gap(running))
    (gap,) = running.reader.gaps.values()
    assert (gap.expected, gap.found) == (0, 1)


async def _gap(service: Running) -> bool:
    return bool(service.reader.gaps)
