"""Tombstones: keyed hashes of erased identifiers. What was received under one before the erasure is dropped, however late it
comes; what comes after makes a new customer, whose bindings continue the old versions, so that they win everywhere."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from libs.common.db import bulk
from libs.common.db.pipeline import AnyTx
from libs.common.log.keyed_hash import KeyedHash
from services.profile import models
from services.profile.domain.events import Event

_FIND = "SELECT hash, version, erased_at FROM profile.tombstones WHERE hash = ANY($1::bytea[])"
_SET = bulk.insert(
    models.tombstones,
    ("hash", "version", "erased_at", "erasure"),
    "ON CONFLICT (hash) DO UPDATE SET version = excluded.version, erased_at = excluded.erased_at, erasure = excluded.erasure",
)


class Tombstone(NamedTuple):
    """The version that the identifier's last binding had, and when its customer was erased."""

    version: int
    erased_at: datetime


class Tombstones:
    """Finds tombstones. `hashes` is called once somebody was erased."""

    def __init__(self, hashes: Callable[[], KeyedHash]) -> None:
        self._hashes = hashes

    async def find(
        self, tx: AnyTx, events: Iterable[Event], new: Collection[str], newest: datetime | None
    ) -> dict[str, Tombstone]:
        """The tombstones of `new` references, and of those of events received before the `newest` erasure.

        Most events were received after it, so they cost nothing.
        """
        refs = set()
        if newest is not None:
            refs = {*new, *(ref for event in events if event.received <= newest for ref in owners(event))}
        if not refs:
            return {}
        hashes = self._hashes()
        hashed = {hashes.of(ref): ref for ref in refs}
        rows = await tx.fetch(_FIND, list(hashed))
        return {hashed[bytes(row[0])]: Tombstone(row[1], row[2]) for row in rows}


async def bury(tx: AnyTx, hashes: KeyedHash, identifiers: Mapping[str, int], erasure: UUID, at: datetime) -> None:
    """Set the tombstones of an erased customer's references. Does not commit."""
    if identifiers:
        rows = sorted((hashes.of(ref), version, at, erasure) for ref, version in identifiers.items())
        await tx.execute(_SET, *bulk.transposed(rows))


def owners(event: Event) -> Sequence[str]:
    """The references whose erasure erases an event, too: its user, else its devices; and an alias's earlier id."""
    refs = (event.user,) if event.user else event.devices
    if event.renamed:
        return (*refs, event.renamed, f"anon:{event.renamed.removeprefix('user:')}")
    return refs


def is_erased(event: Event, tombstones: Mapping[str, Tombstone]) -> bool:
    """Whether the event was received before the erasure of whom it is about."""
    return any(ref in tombstones and event.received <= tombstones[ref].erased_at for ref in owners(event))
