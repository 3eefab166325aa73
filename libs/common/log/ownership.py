"""Which process reads which partition: session advisory locks on one connection, shared fairly between live processes.

The locks only keep processes from doing the same work; the fence makes double reading harmless. The connection has an
`idle_session_timeout`, so PostgreSQL frees the locks of a frozen process.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import asyncpg

from libs.common.db.locks import reader_class
from libs.common.db.pool import Database
from libs.common.log.reader import TopicPartition

#: A process loses its partitions when its session has been idle for so long. It renews it every HEARTBEAT seconds.
IDLE_SESSION_MS = 3000
HEARTBEAT = 0.5

_MEMBERS = """
SELECT count(DISTINCT objid) FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1::bigint::oid AND objsubid = 2
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Ownership:
    """Holds partitions for one reader of one service. Call `balance` every HEARTBEAT seconds."""

    def __init__(self, database: Database, reader: str, tps: Sequence[TopicPartition]) -> None:
        self._database = database
        self._reader = reader
        #: Each topic's partitions are shared separately, because one topic may cause most of the work.
        self._topics = [list(topic) for _, topic in groupby(sorted(tps), key=lambda tp: tp.topic)]
        self._session: asyncpg.Connection[Any] | None = None
        self.owned: set[TopicPartition] = set()
        #: Owned partitions above the fair share; they should be given back.
        self.surplus: list[TopicPartition] = []

    async def balance(self) -> set[TopicPartition]:
        """Renew the session and take free partitions up to the fair share. Returns the owned partitions.

        Raises what asyncpg raises if the session is lost. Then all partitions are lost and `owned` is empty.
        """
        try:
            session = self._session or await self._open()
            members = max(1, await session.fetchval(_MEMBERS, _unsigned(self._class("members"))))
            self.surplus = []
            for topic in self._topics:
                share = math.ceil(len(topic) / members)
                held = [tp for tp in topic if tp in self.owned]
                for tp in topic:
                    if len(held) < share and tp not in self.owned and await self._take(session, tp):
                        held.append(tp)
                self.surplus += held[share:]
            return set(self.owned)
        except BaseException:
            self.forget()
            raise

    async def give_back(self, tp: TopicPartition) -> None:
        """Free a partition. Call it after its last batch.

        If that fails, the session is dropped and everything is lost, as in `balance`. Otherwise the session might keep
        a lock that we no longer know of, and no process could read the partition.
        """
        try:
            self.owned.discard(tp)
            if self._session:
                await self._session.execute("SELECT pg_advisory_unlock($1, $2)", self._class(tp.topic), tp.partition)
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Drop the session and all its locks, without a round trip."""
        self.owned.clear()
        self.surplus = []
        if self._session:
            self._session.terminate()
            self._session = None

    async def close(self) -> None:
        self.owned.clear()
        if self._session:
            session, self._session = self._session, None
            await session.close(timeout=2)

    async def _open(self) -> "asyncpg.Connection[Any]":
        self._session = await asyncio.wait_for(
            self._database.session(f"rapport-{self._reader}", idle_session_timeout=f"{IDLE_SESSION_MS}ms"), 5
        )
        member = random.SystemRandom().randrange(2**31)
        await self._session.execute("SELECT pg_advisory_lock($1, $2)", self._class("members"), member)
        return self._session

    async def _take(self, session: "asyncpg.Connection[Any]", tp: TopicPartition) -> bool:
        lock = "SELECT pg_try_advisory_lock($1, $2)"
        if not await session.fetchval(lock, self._class(tp.topic), tp.partition):
            return False
        self.owned.add(tp)
        return True

    def _class(self, name: str) -> int:
        return reader_class(self._reader, name)


def _unsigned(number: int) -> int:
    return number + 2**32 if number < 0 else number
