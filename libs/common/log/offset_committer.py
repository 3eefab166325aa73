"""The offset committer stores positions a little after they are reached, those of several partitions together.

It suits a reader that may do work twice: after a crash, the reader reads again what was not recorded.
"""

import asyncio
import contextlib

import structlog

from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Database
from libs.common.log.positions import FenceLost, Positions
from libs.common.log.reader import Position, TopicPartition

logger = structlog.get_logger()

#: Seconds for which it gathers positions.
LINGER = 0.1


class OffsetCommitter:
    """Stores the positions of partitions' readers. If another process moved one, its reader gets FenceLost."""

    def __init__(self, database: Database, positions: Positions) -> None:
        self._database = database
        self._positions = positions
        self._moves: dict[TopicPartition, tuple[Position, Position]] = {}
        self._lost: set[TopicPartition] = set()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def note(self, tp: TopicPartition, old: Position, new: Position) -> None:
        """Note that a partition's reader moved from `old` to `new`; stored later. Does not block.

        Raises FenceLost if an earlier move failed, because the stored position was another one. The reader must then
        read its position again.
        """
        if tp in self._lost:
            self._lost.discard(tp)
            raise FenceLost(f"{tp} was no longer at {old.next} when its position was recorded")
        self._moves[tp] = (self._moves[tp][0] if tp in self._moves else old, new)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._later(), name="positions")

    async def record(self) -> None:
        """Store all noted positions now. Commits. Raises what asyncpg raises; then they are kept for the next call."""
        async with self._lock:
            moves, self._moves = self._moves, {}
            try:
                if not await self._recorded(moves):
                    for tp, move in moves.items():
                        if not await self._recorded({tp: move}):
                            self._lost.add(tp)
            except BaseException:
                for tp, (old, new) in moves.items():
                    self._moves[tp] = (old, self._moves[tp][1] if tp in self._moves else new)
                raise

    def forget(self, tp: TopicPartition) -> None:
        """Drop what was noted of a partition. Call it before its reader reads the position again."""
        self._moves.pop(tp, None)
        self._lost.discard(tp)

    async def stop(self) -> None:
        """Store the remaining positions, if the database is available."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(*UNAVAILABLE):
            await self.record()

    async def _recorded(self, moves: dict[TopicPartition, tuple[Position, Position]]) -> bool:
        """Whether all these moves were stored; if not, none was."""
        if not moves:
            return True
        try:
            async with self._database.transaction() as tx:
                await self._positions.advance(tx, moves)
        except FenceLost:
            return False
        return True

    async def _later(self) -> None:
        while self._moves:
            await asyncio.sleep(LINGER)
            try:
                await self.record()
            except UNAVAILABLE as error:
                logger.warning("positions are recorded later: PostgreSQL cannot be reached", error=repr(error))
                await asyncio.sleep(1)
