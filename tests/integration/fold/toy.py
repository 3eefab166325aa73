"""A small service for testing the fold: counts what each customer did, and a fact for every third thing."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from pydantic import SecretStr
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.contracts.input import Input, Resource
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import Envelope, Fact
from libs.common.contracts.rewards import REWARDS
from libs.common.db.pool import Database, Tx
from libs.common.fold.decider import Applied, Decision, Draws, Merged
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.loop import Fold
from libs.common.fold.sections import SectionKinds
from libs.common.fold.tables import customer_tables, fold_tables, section_table, shared_table
from libs.common.fold.watchdog import Watchdog
from libs.common.log.postgres import PostgresReader
from libs.common.settings import Settings

metadata = MetaData(schema="toy")
FOLD = fold_tables(metadata)
CUSTOMERS = customer_tables(metadata)
SECTIONS = section_table(metadata)
SHARED = shared_table(metadata)


class Third(Fact, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "third.reached.v1"
    count: int


class Counted(msgspec.Struct):
    count: int = 0
    seen: list[str] = []


class Did(msgspec.Struct):
    """`fail` is the message of an error in `decide`, or the name of something worse (see Toy). `sql` runs in `project`. What is
    `idle` has nothing to do with the state. `item` and `other` are pots that a Drawer draws on."""

    event: str = ""
    fail: str = ""
    sql: str = ""
    idle: bool = False
    item: str = ""
    other: str = ""


class Toy:
    source = "/toy"
    state = Counted
    decision = Decision
    sections: SectionKinds | None = None
    shared: Draws[int] | None = None

    def read(self, envelope: Envelope, rules: int) -> Did | None:
        return msgspec.json.decode(envelope.data, type=Did) if envelope.type == "track.v1" else None

    def stateless(self, body: object, rules: int) -> bool:
        return isinstance(body, Did) and body.idle

    def decide(self, state: Counted, input: Input, rules: int) -> Decision:
        match input.body:
            case Did(fail="die"):
                os.kill(os.getpid(), signal.SIGKILL)
            case Did(fail="block"):
                while True:
                    pass
            case Did(fail=fail) if fail not in ("", "hang"):
                raise ValueError(fail)
        if isinstance(input.body, Merged) or (state.count + 1) % 3:
            return Decision()
        return Decision(facts=[Third(count=state.count + 1)])

    def evolve(self, state: Counted, input: Input, decision: Decision) -> None:
        if isinstance(input.body, Merged):
            return
        state.count += 1
        state.seen = [*state.seen, input.id]

    def absorb(self, survivor: Counted, other: Counted) -> None:
        survivor.count += other.count
        survivor.seen = survivor.seen + other.seen

    async def rules(self, tx: Tx, rulebook: int) -> int:
        return rulebook

    async def project(self, tx: Tx, applied: list[Applied[Counted]]) -> None:
        for each in applied:
            match each.input.body:
                case Did(fail="hang"):
                    await asyncio.Event().wait()
                case Did(sql=sql) if sql:
                    await tx.execute(sql)


class Drawn(Fact, frozen=True, kw_only=True):
    """So much of a pot was drawn, of which so much was left before."""

    TYPE: ClassVar[str] = "pot.drawn.v1"
    amount: int
    left: int


POT = 100


def pots_of(body: object, time: datetime, partition: int, rules: int) -> list[Resource]:
    names = [body.item, body.other] if isinstance(body, Did) else []
    return [Resource("pot", name) for name in names if name]


def recorded(input: Input, rules: int, facts: Sequence[Fact]) -> dict[Resource, int]:
    left = [fact.left for fact in facts if isinstance(fact, Drawn)]
    return {pot: POT - left[0] if left else POT for pot in pots_of(input.body, input.time, input.partition, rules)}


class Drawer(Toy):
    """Draws 3 of the pot named by `item`, which holds POT; the last one gets what is left."""

    shared = Draws(pots_of, recorded)

    def decide(self, state: Counted, input: Input, rules: int) -> Decision:
        if isinstance(input.body, Did) and input.body.fail:
            raise ValueError(input.body.fail)
        for pot, taken in input.shared.items():
            if amount := min(3, POT - taken):
                return Decision(facts=[Drawn(amount=amount, left=POT - taken)], takes={pot: amount})
        return Decision()


async def install(settings: Settings) -> None:
    """Make the toy's schema."""
    engine = create_async_engine(settings.dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.begin() as connection:
        await connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS toy")
        await connection.run_sync(metadata.create_all)
    await engine.dispose()


class Running:
    """A toy service in this process."""

    def __init__(self, database: Database, decider: Toy | None = None) -> None:
        self.database = database
        self.handler: DeciderHandler[Counted, int] = DeciderHandler("toy", decider or Toy())
        self.reader = PostgresReader(database, [JOURNAL])
        self.fold = Fold("toy", database, self.reader, self.handler, [JOURNAL], REWARDS)

    async def __aenter__(self) -> "Running":
        await self.reader.start()
        await self.fold.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.fold.stop()
        await self.reader.stop()

    async def caught_up(self) -> bool:
        return all(lag.records == 0 for lag in (await self.fold.lag()).values())


async def main(dsn: str) -> None:
    """Run until killed: for tests that kill or freeze the process."""
    database = await Database.connect(Settings(database_url=SecretStr(dsn), pool_size=6), "toy")
    running = Running(database)
    if longest := os.environ.get("TOY_WATCHDOG"):
        running.fold.watchdog = Watchdog(running.fold, longest=float(longest))
    async with running:
        print("running", os.getpid(), flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
