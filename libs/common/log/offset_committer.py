"""Positions that are recorded a little later than they are reached, those of several partitions together.

For a reader whose work may be done twice: what was not recorded when its process dies is read again.
"""

import asyncio
import contextlib

import structlog

from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Database
from libs.common.log.positions import FenceLost, Positions
from libs.common.log.reader import Position, TopicPartition

logger = structlog.get_logger()

#: Seconds for which positions are gathered.
LINGER = 0.1


class OffsetCommitter:
    """Moves stored positions after the partitions' readers. One that turns out to stand elsewhere is lost to its reader."""

    def __init__(self, database: Database, positions: Positions) -> None:
        self._database = database
        self._positions = positions
        self._moves: dict[TopicPartition, tuple[Position, Position]] = {}
        self._lost: set[TopicPartition] = set()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def note(self, tp: TopicPartition, old: Position, new: Position) -> None:
        """The reader of a partition went from `old` to `new`. Raises FenceLost when it was not where it thought, some time
        before: it has to read its position again."""
        if tp in self._lost:
            self._lost.discard(tp)
            raise FenceLost(f"{tp} did not stand at {old.next} any more when its position was to be recorded")
        self._moves[tp] = (self._moves[tp][0] if tp in self._moves else old, new)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._later(), name="positions")

    async def record(self) -> None:
        """Now, what was noted. Raises what asyncpg raises; then it is kept for the next time."""
        async with self._turn:
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
        """Its position is about to be read again."""
        self._moves.pop(tp, None)
        self._lost.discard(tp)

    async def stop(self) -> None:
        """Record what is left, if that can be done."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(*UNAVAILABLE):
            await self.record()

    async def _recorded(self, moves: dict[TopicPartition, tuple[Position, Position]]) -> bool:
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
                logger.warning("positions are recorded later: the database is away", error=repr(error))
                await asyncio.sleep(1)
