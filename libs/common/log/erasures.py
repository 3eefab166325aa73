"""Erasures for the service that folds nothing: profile writes what has to be erased, ingest reads it.

In PostgreSQL they are rows of the log's schema. With Kafka, where each service may have its own database, profile also
publishes those that are open in a compacted topic, as it does with watermarks.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived
from libs.common.contracts.profile import ERASURES, ErasureAnswered
from libs.common.contracts.records import encode
from libs.common.db.pool import Tx
from libs.common.errors import Unavailable
from libs.common.log.append import Outgoing
from libs.common.settings import Settings

#: The longest time between receiving an event and having it in the log, as for watermarks. What was received before an
#: erasure is in the log only after it.
MARGIN = timedelta(seconds=15)


class OpenErasure(msgspec.Struct, frozen=True):
    """An erasure of what was received up to `asked_at`; `hashes` are those of the customer's identifiers, e-mail and phone."""

    id: UUID
    asked_at: datetime
    hashes: list[bytes]


_decoder = msgspec.json.Decoder(list[OpenErasure])


async def store(tx: Tx, erasure: OpenErasure) -> None:
    """Write one. Does not commit."""
    await tx.execute(
        "INSERT INTO log.erasures (id, asked_at, hashes) VALUES ($1, $2, $3)",
        erasure.id,
        erasure.asked_at,
        erasure.hashes,
    )


async def stored(tx: Tx, ids: Iterable[UUID] | None = None) -> list[OpenErasure]:
    """Those in this database: of these ids, or all."""
    rows = await tx.fetch(
        "SELECT id, asked_at, hashes FROM log.erasures WHERE $1::uuid[] IS NULL OR id = ANY($1) ORDER BY asked_at, id",
        None if ids is None else list(ids),
    )
    return [OpenErasure(row[0], row[1], [bytes(each) for each in row[2]]) for row in rows]


async def close(tx: Tx, id: UUID) -> None:
    """Delete one that every service has answered. Does not commit."""
    await tx.execute("DELETE FROM log.erasures WHERE id = $1", id)


def published(erasures: Sequence[OpenErasure]) -> bytes:
    """The message for Kafka: all that are open."""
    return msgspec.json.encode(erasures)


async def read_published(settings: Settings) -> list[OpenErasure]:
    """Those that profile published last in Kafka. Raises Unavailable."""
    from libs.common.log.kafka.compacted_topic import newest_message

    value = await newest_message(settings, ERASURES)
    try:
        return _decoder.decode(value) if value else []
    except msgspec.MsgspecError as error:
        raise Unavailable(f"the newest message of {ERASURES} comes from another release: {error}") from error


def answer(settings: Settings, service: str, erasure: UUID, erased: Mapping[str, int], now: datetime) -> Outgoing:
    """A service's answer as a record of its own topic, on the key of the erasure."""
    said = ErasureAnswered(
        erasure=str(erasure), service=service, erased=dict(erased), kafka_until=kafka_until(settings, now)
    )
    id = derived(said.erasure, ErasureAnswered.TYPE, service)
    value = encode(id=str(id), source=f"/{service}", type=said.TYPE, time=now, recordedtime=now, data=said)
    return Outgoing(said.erasure, value, now)


def kafka_until(settings: Settings, now: datetime) -> datetime | None:
    """Until when Kafka may have copies of records that are redacted now; None without Kafka."""
    if settings.log != "kafka":
        return None
    from libs.common.log.kafka.topics import RETENTION_DAYS

    return now + timedelta(days=RETENTION_DAYS)
