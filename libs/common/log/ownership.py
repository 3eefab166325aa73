"""Who reads which partition: session advisory locks on one connection, shared fairly between the living processes.

The locks only keep processes out of each other's way; what makes double reading harmless is the fence. The connection
has an `idle_session_timeout`, so that the locks of a frozen process are freed while it stands still.
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

#: A process that has not been heard of for so long has lost its partitions.
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
        #: Shared topic by topic, as one topic may bring most of the work.
        self._topics = [list(topic) for _, topic in groupby(sorted(tps), key=lambda tp: tp.topic)]
        self._session: asyncpg.Connection[Any] | None = None
        self.owned: set[TopicPartition] = set()
        #: What lies over the fair share and should be given back.
        self.surplus: list[TopicPartition] = []

    async def balance(self) -> set[TopicPartition]:
        """Renew the session and take free partitions up to the fair share; returns what is now owned.

        Raises what asyncpg raises when the session is gone: then everything is lost, and `owned` is empty.
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
        """Free a partition, after its last batch is done. Where that fails everything is lost, as in `balance`: a lock
        that the session went on holding unknown to us would keep the partition from everyone."""
        try:
            self.owned.discard(tp)
            if self._session:
                await self._session.execute("SELECT pg_advisory_unlock($1, $2)", self._class(tp.topic), tp.partition)
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Drop the session, and with it all locks, without asking the server."""
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
