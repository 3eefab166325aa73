"""Processes that a test kills or freezes at a failpoint: `python -m tests.integration.log.children copy|append|forward`.

The settings come from the environment. Each says `running` when it is, and then what befalls it, a word a line.
"""

import asyncio
import os
import sys
from typing import Self

from libs.common.contracts.profile import JOURNAL
from libs.common.db.errors import UNAVAILABLE
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.log.append import append
from libs.common.log.forward import Forwarder
from libs.common.log.ownership import HEARTBEAT, Ownership
from libs.common.log.positions import FenceLost, Positions
from libs.common.log.reader import TopicPartition, after
from libs.common.runtime.failpoints import failpoint
from libs.common.settings import Settings
from tests.integration.log.logs import PARTITIONS, WHERES, key_in, make_reader, numbered


class Copier:
    """Copies the journal into a table: a reader with ownership, position and fence, and nothing else."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self.database = database
        self.reader = make_reader(settings, database)
        self.positions = Positions("suite", "copier")
        self.ownership = Ownership(database, "suite/copier", WHERES)
        self.tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self.leaving: set[TopicPartition] = set()

    async def __aenter__(self) -> Self:
        async with self.database.transaction() as tx:
            await self.positions.ensure(tx, WHERES)
        await self.reader.start()
        self.balancer = asyncio.create_task(self.balance())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [self.balancer, *self.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.ownership.close()
        await self.reader.stop()

    async def balance(self) -> None:
        while True:
            try:
                for tp in await self.ownership.balance():
                    if tp not in self.tasks or self.tasks[tp].done():
                        self.tasks[tp] = asyncio.create_task(self.copy(tp))
                for tp in list(self.ownership.surplus):
                    self.leaving.add(tp)
                    await self.tasks.pop(tp)
                    self.leaving.discard(tp)
                    await self.ownership.give_back(tp)
            except UNAVAILABLE:
                say("lost")
            await asyncio.sleep(HEARTBEAT)

    async def copy(self, tp: TopicPartition) -> None:
        """Go on until the partition is lost, but finish what is begun: so that only the fence protects it."""
        while tp in self.ownership.owned - self.leaving:
            try:
                async with self.database.connection() as connection:
                    position = (await self.positions.load(connection, tp)).position
                while tp in self.ownership.owned - self.leaving:
                    records = await self.reader.fetch(tp, position, 10, 0.5)
                    if not records:
                        continue
                    failpoint("copier.fetched")
                    async with self.database.transaction() as tx:
                        await self.positions.advance(tx, {tp: (position, after(position, records))})
                        await tx.executemany(
                            "INSERT INTO suite.copies VALUES ($1, $2, $3, $4, $5)",
                            [(row.partition, row.offset, row.value, row.key, os.getpid()) for row in records],
                        )
                        failpoint("copier.copied")
                    position = after(position, records)
            except FenceLost:
                say("fenced")
            except (Unavailable, *UNAVAILABLE):
                say("away")
                await asyncio.sleep(0.1)


async def append_slowly(database: Database) -> None:
    """Stop between the last append and the commit."""
    try:
        async with database.transaction() as tx:
            await append(tx, JOURNAL, numbered(key_in(0), range(3)), PARTITIONS)
            failpoint("appended")
    except UNAVAILABLE:
        say("away")


def say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 (read by the test)


async def main(what: str) -> None:
    settings = Settings(pool_size=10)
    database = await Database.connect(settings, what)
    say("running")
    if what == "append":
        await append_slowly(database)
    elif what == "forward":
        await Forwarder(database, settings, "suite", JOURNAL).start()
    else:
        await Copier(settings, database).__aenter__()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
