"""Idempotency keys: a command that was answered under a key is answered the same again, and applied once."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec

from libs.common.db.pool import Tx
from libs.common.errors import Conflict


class IdempotencyKeys:
    """The table `commands` of one service. `survivor` finds who a customer was merged into."""

    def __init__(self, service: str, survivor: Callable[[Tx, UUID], Awaitable[UUID]]) -> None:
        self._table = f'"{service}".commands'
        self._survivor = survivor

    async def answer(self, tx: Tx, key: str, customer: UUID, body: msgspec.Struct) -> bytes | None:
        """The answer (JSON) to `body` under this key; None if the key is new. The caller has locked the customer.

        Raises Conflict if the key was used for another body or customer.
        """
        known = await tx.fetchrow(f"SELECT customer, digest, answer FROM {self._table} WHERE key = $1", key)
        if known is None:
            return None
        if known["digest"] != _digest(body) or await self._survivor(tx, known["customer"]) != customer:
            raise _used(key)
        answer: bytes = known["answer"]
        return answer

    async def store(self, tx: Tx, key: str, customer: UUID, body: msgspec.Struct, answer: Any) -> bytes:
        """Store the answer, which must be JSON-able, and return it as JSON. Does not commit.

        Raises Conflict if a concurrent request used the key for another customer.
        """
        encoded = msgspec.json.encode(answer)
        status = await tx.execute(
            f"INSERT INTO {self._table} (key, customer, digest, answer) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            key,
            customer,
            _digest(body),
            encoded,
        )
        if status != "INSERT 0 1":
            raise _used(key)
        return encoded


def _digest(body: msgspec.Struct) -> bytes:
    return hashlib.sha256(type(body).__name__.encode() + msgspec.json.encode(body)).digest()


def _used(key: str) -> Conflict:
    return Conflict(f"the idempotency key {key!r} was used for another request: use a new key")
