"""The journal as the service itself reads it, for putting back what a restore has lost."""

import contextlib

from libs.common.contracts.profile import JOURNAL
from libs.common.errors import Unavailable
from libs.common.log.reader import Position, Reader, Record, Where
from libs.common.replay.journal import Journal

#: How often it is asked for a record that must be there.
PATIENCE = 60


class ReaderJournal(Journal):
    """The journal from where the service reads it anyway."""

    def __init__(self, reader: Reader, partitions: int) -> None:
        self._reader = reader
        self.partitions = partitions
        self.stood: dict[int, Position] = {}

    async def read(self, partition: int, first: int, end: int) -> list[Record]:
        for _ in range(PATIENCE):
            if records := await self._fetch(partition, first, end - first, 1.0):
                return records
        raise Unavailable(f"{JOURNAL}/{partition} does not give record {first}, which was folded before the restore")

    async def one(self, partition: int, offset: int) -> Record | None:
        """A record, if it is there already."""
        where = Where(JOURNAL, partition)
        for _ in range(PATIENCE):
            if records := await self._fetch(partition, offset, 1, 0.5):
                return records[0]
            with contextlib.suppress(Unavailable):  # it is slow: asked again
                if not (await self._reader.lag({where: self._position(partition, offset)}))[where].records:
                    return None
        raise Unavailable(f"{JOURNAL}/{partition} cannot be read at {offset}")

    async def _fetch(self, partition: int, first: int, limit: int, wait: float) -> list[Record]:
        return await self._reader.fetch(Where(JOURNAL, partition), self._position(partition, first), limit, wait)

    def _position(self, partition: int, next: int) -> Position:
        stood = self.stood[partition]
        return stood if stood.next == next else Position(stood.epoch, next)
