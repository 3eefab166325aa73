"""Ingest redacts the events of erased customers in its log, and deletes their rejected events, by keyed hashes alone."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import ERASURES
from libs.common.contracts.records import decode, encode
from libs.common.db.pool import Database
from libs.common.log import erasures as notices
from libs.common.log.append import Outgoing
from libs.common.log.erasures import MARGIN, OpenErasure
from libs.common.log.kafka.compacted_topic import CompactedTopicWriter
from libs.common.log.keyed_hash import KeyedHash
from libs.common.log.partition import partition_of
from libs.common.log.redaction import NO_KEY, is_redacted
from libs.common.observability.telemetry import Meter
from libs.common.runtime.failpoints import arm
from libs.common.runtime.postgres import Postgres
from libs.common.settings import Settings
from services.ingest import store
from services.ingest.erasures import Erasures
from services.ingest.log import PostgresLog
from services.ingest.store import Rejected
from tests.client import append_to

ASKED = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = ASKED + MARGIN + timedelta(seconds=1)


@pytest.fixture
async def ingest(settings: Settings) -> AsyncIterator[Erasures]:
    """The component alone: rounds are asked for by the test."""
    postgres = Postgres(settings, "ingest", Meter("ingest"))
    await postgres.start()
    log = PostgresLog(postgres)
    await log.start()
    yield Erasures(postgres, log)
    arm("")
    await log.stop()
    await postgres.stop()


def event(key: str, received: datetime = ASKED, **data: Any) -> Outgoing:
    said = {"type": "track", "event": "Looked", **data}
    value = encode(
        id=str(uuid.uuid4()), source="/apps/shop", type="track.v1", time=received, recordedtime=received, data=said
    )
    return Outgoing(key, value, received)


async def ask(database: Database, settings: Settings, *texts: str) -> uuid.UUID:
    """Profile has erased somebody with these identifiers."""
    id, hashes = uuid.uuid4(), KeyedHash(settings)
    async with database.transaction() as tx:
        await notices.store(tx, OpenErasure(id, ASKED, [hashes.of(text) for text in texts]))
    return id


async def reject(database: Database, *bodies: bytes) -> None:
    async with database.transaction() as tx:
        source = await store.add_source(tx, f"s{uuid.uuid4().hex[:8]}", "EUR", None)
        rows = [
            Rejected(uuid.uuid4(), source, ASKED, "no", None, None, len(body), body, None, False) for body in bodies
        ]
        await store.add_rejected(tx, rows, {})


async def rejected(database: Database) -> set[bytes]:
    return {bytes(row["body"]) for row in await database.pool.fetch("SELECT body FROM ingest.rejected")}


async def kept(database: Database) -> list[tuple[str, dict[str, Any]]]:
    """The records that are not redacted, in their order: keys and data."""
    rows = await database.pool.fetch('SELECT key, value FROM log."ingest.events" ORDER BY partition, "offset"')
    assert all((row["key"] == NO_KEY) == is_redacted(row["value"]) for row in rows)
    return [
        (row["key"], msgspec.json.decode(decode(row["value"]).data)) for row in rows if not is_redacted(row["value"])
    ]


async def test_what_is_theirs_goes_and_what_is_not_stays(
    ingest: Erasures, database: Database, settings: Settings
) -> None:
    theirs = [
        event("a1", anonymousId="a1", userId="ann-1"),
        event("a1", anonymousId="a1"),
        event("ann-1", userId="ann-1"),
        event("other", anonymousId="other", userId="ann-1"),
        event("x1", userId="new-id", previousId="ann-1"),
    ]
    others = [
        event("a1", anonymousId="a1", userId="bob-1"),
        event("bob-1", userId="bob-1", properties={"friend": "ann-1"}),
        event("ann-1", ASKED + timedelta(seconds=1), userId="ann-1"),
    ]
    await append_to(database, EVENTS, *theirs, *others)
    gone = [
        b'{"type":"dance","userId":"ann-1"}',
        b'{"userId": "ann-1", broken',
        b'{"traits":{"email":"ann\\u0040example.com"}}',
        b'[{"anonymousId":"a1"',
    ]
    stay = [b'{"type":"dance","userId":"bob-1"}', b'{"quantity":"a1"}', b"no JSON at all"]
    await reject(database, *gone, *stay)
    id = await ask(database, settings, "ann-1", "a1", "ann@example.com")

    assert await ingest.round(ASKED + MARGIN) == 0  # something may still be on its way into the log
    assert await ingest.round(LATER) == 1
    assert await ingest.round(LATER) == 0
    left = [data for _, data in await kept(database)]
    answers = [data for data in left if "service" in data]
    assert answers == [
        {"erasure": str(id), "service": "ingest", "erased": {"log": 5, "rejected": 4}, "kafka_until": None}
    ]
    assert [data for data in left if "service" not in data] == [
        msgspec.json.decode(decode(each.value).data) for each in sorted(others, key=_partition)
    ]
    assert await rejected(database) == set(stay)


def _partition(record: Outgoing) -> int:
    return partition_of(record.key, 8)


@pytest.mark.parametrize("point", ["erasures.redacted", "erasures.answered"])
async def test_whatever_breaks_off_the_answer_counts_all(
    ingest: Erasures, database: Database, settings: Settings, point: str
) -> None:
    await append_to(database, EVENTS, event("ann-1", userId="ann-1"), event("bob-1", userId="bob-1"))
    await reject(database, b'{"userId":"ann-1"}')
    await ask(database, settings, "ann-1")
    arm(f"{point}=raise:1")
    with pytest.raises(OSError, match=point):
        await ingest.round(LATER)
    assert await ingest.round(LATER) == 1
    answers = [data for _, data in await kept(database) if "service" in data]
    assert {str(answer["erased"]) for answer in answers} == {"{'log': 1, 'rejected': 1}"}
    assert await rejected(database) == set()


async def test_open_erasures_travel_over_kafka(kafka_settings: Settings) -> None:
    open = [OpenErasure(uuid.uuid4(), ASKED, [b"\x00\xff" * 16])]
    writer = CompactedTopicWriter(kafka_settings, ERASURES)
    try:
        await writer.write(notices.published(open))
        assert await notices.read_published(kafka_settings) == open
        await writer.write(notices.published([]))
        assert await notices.read_published(kafka_settings) == []
    finally:
        await writer.stop()
