"""What services answer to erasures: facts of their own topics, which profile stores and does not journal."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from libs.common.contracts.ids import parsed
from libs.common.contracts.profile import ErasureAnswered
from libs.common.contracts.records import decode
from libs.common.db.pipeline import AnyTx
from libs.common.log.reader import Record

_STORE = """
INSERT INTO profile.erasure_answers (erasure, service, erased, answered_at, kafka_until) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""
_decoder = msgspec.json.Decoder(ErasureAnswered)


async def collect(tx: AnyTx, answers: Iterable[Record]) -> None:
    """Store what services answered. Of several answers of one service the first counts. Does not commit."""
    for record in answers:
        envelope = decode(record.value)
        answer = _decoder.decode(envelope.data)
        await store(tx, parsed(answer.erasure), answer.service, answer.erased, envelope.time, answer.kafka_until)


async def store(
    tx: AnyTx, erasure: UUID, service: str, erased: Mapping[str, int], at: datetime, kafka_until: datetime | None
) -> None:
    """Store a service's answer, unless it has one. Does not commit."""
    await tx.fetch(f"{_STORE} RETURNING 1", erasure, service, msgspec.json.encode(erased), at, kafka_until)
