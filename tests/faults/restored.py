"""A service's own data (its schema, its topic) set back to an older backup, while all else and Kafka go on."""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import asyncpg

from libs.common.contracts.registry import written_by
from libs.common.db.errors import UNAVAILABLE
from tests.faults.faults import Fault, running
from tests.faults.stage import Stage

_TABLES = "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'"
_FALLEN = (
    'DELETE FROM log."{topic}" t USING "{backup}".heads h WHERE t.partition = h.partition AND t."offset" >= h.next'
)
_HEADS = """
UPDATE log.heads h SET epoch = b.epoch, next = b.next FROM "{backup}".heads b
WHERE h.topic = b.topic AND h.partition = b.partition
"""


@dataclass(frozen=True)
class Restored(Fault):
    """Backed up in the midst of the run; restored when all that it said since is in Kafka, as what is not is lost."""

    service: str
    deaths: ClassVar[int] = 1

    def __str__(self) -> str:
        return f"{self.service} restored from a backup"

    @property
    def _backup(self) -> str:
        return f"backup_{self.service}"

    async def strike(self, stage: Stage) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    return await self._back_up(stage)
                except UNAVAILABLE:  # another fault is at it
                    await asyncio.sleep(0.2)

    async def after(self, stage: Stage) -> None:
        stage.explained[self.service] += 1
        pid = await running(stage, self.service)
        stage.hold_back(self.service, 60)
        await asyncio.to_thread(stage.platform.services[self.service].stop)
        connection = await asyncpg.connect(stage.database_of_superuser)
        try:
            async with connection.transaction():
                await self._set_back(connection)
        finally:
            await connection.close()
        stage.hold_back(self.service, 0)
        await running(stage, self.service, other_than=pid)

    async def _back_up(self, stage: Stage) -> None:
        connection = await asyncpg.connect(stage.database_of_superuser)
        try:
            async with connection.transaction(isolation="repeatable_read"):
                await connection.execute(
                    f'DROP SCHEMA IF EXISTS "{self._backup}" CASCADE; CREATE SCHEMA "{self._backup}"'
                )
                for table in await self._tables(connection, self.service):
                    await connection.execute(
                        f'CREATE TABLE "{self._backup}"."{table}" AS TABLE {self.service}."{table}"'
                    )
                await connection.execute(
                    f"CREATE TABLE \"{self._backup}\".heads AS SELECT * FROM log.heads WHERE topic = '{self._topic}'"
                )
        finally:
            await connection.close()

    async def _set_back(self, tx: "asyncpg.Connection[Any]") -> None:
        kept = await self._tables(tx, self._backup)
        for table in await self._tables(tx, self.service):
            place = f'{self.service}."{table}"'
            await tx.execute(f"DELETE FROM {place}")
            if table in kept:
                await tx.execute(
                    f'INSERT INTO {place} OVERRIDING SYSTEM VALUE SELECT * FROM "{self._backup}"."{table}"'
                )
        for statement in (_FALLEN, _HEADS):
            await tx.execute(statement.format(topic=self._topic, backup=self._backup))

    @property
    def _topic(self) -> str:
        topic = written_by(self.service)
        return topic

    async def _tables(self, tx: "asyncpg.Connection[Any]", schema: str) -> list[str]:
        return [row[0] for row in await tx.fetch(_TABLES, schema)]
