"""The database goes away at the worst moments, and comes back: nothing is lost or doubled, and nobody has to restart."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.db.migrate import migrate
from libs.common.db.pool import Database
from libs.common.errors import Unavailable
from libs.common.settings import Settings
from tests.conftest import new_home
from tests.integration.fold.toy import Running, install
from tests.integration.fold.world import CUSTOMERS, dead, did, facts, journal, states
from tests.support import eventually

SOCKET = ".s.PGSQL.5432"


class Between:
    """Stands between a client and PostgreSQL. The next `lose` answers to COMMIT are received and never passed on."""

    def __init__(self, settings: Settings) -> None:
        self._server = Path(parse_qs(urlsplit(settings.dsn).query)["host"][0]) / SOCKET
        self._folder = Path(tempfile.mkdtemp(prefix="rapport-tests-", dir="/tmp"))
        self.settings = settings.model_copy(
            update={"database_url": SecretStr(settings.dsn.partition("?")[0] + f"?host={self._folder}")}
        )
        self.lose = 0
        self.lost = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Between"]:
        async with await asyncio.start_unix_server(self._serve, self._folder / SOCKET) as server:
            try:
                yield self
            finally:
                server.close()
                shutil.rmtree(self._folder)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        server, asks = await asyncio.open_unix_connection(self._server)
        losing = asyncio.Event()

        async def ask() -> None:
            while chunk := await client.read(65536):
                if b"COMMIT" in chunk and self.lose > 0:
                    self.lose -= 1
                    losing.set()
                asks.write(chunk)
            asks.close()

        async def answer() -> None:
            while chunk := await server.read(65536):
                if losing.is_set():
                    self.lost += 1
                    answers.transport.abort()
                    asks.transport.abort()
                    return
                answers.write(chunk)
            answers.close()

        await asyncio.gather(ask(), answer(), return_exceptions=True)


async def test_the_answer_to_commit_is_lost(settings: Settings, toy: Database) -> None:
    """It was committed, and the process does not know: the position says so when it is read again."""
    async with Between(settings).listening() as between:
        database = await Database.connect(between.settings, "between")
        async with Running(database) as service:
            for batch in range(6):
                between.lose = 3
                await journal(toy, *(did(customer, f"{batch}-{customer}") for customer in CUSTOMERS))
                await eventually(lambda: _away_or_caught_up(service))
            assert between.lost >= 12
        await database.close()
    assert {state.count for state in (await states(toy)).values()} == {6}
    made = await facts(toy)
    assert len(made) == len(set(made)) == 2 * len(CUSTOMERS)
    assert await dead(toy) == []


async def _away_or_caught_up(service: Running) -> bool:
    try:
        return await service.caught_up()
    except (Unavailable, OSError):
        return False


@pytest.fixture
async def own() -> AsyncIterator[tuple[Postgres, Settings]]:
    """A PostgreSQL that the test may kill, with the toy in it."""
    home = new_home("rapport-tests-")
    server = Postgres(home, fsync=False)
    await asyncio.to_thread(server.start)
    settings = Settings(database_url=SecretStr(server.dsn("rapport")), pool_size=8)
    await migrate(settings, ("log",))
    await install(settings)
    yield server, settings
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


async def test_postgresql_crashes_and_comes_back(own: tuple[Postgres, Settings]) -> None:
    """The process stays, reconnects by itself, and reads everything."""
    server, settings = own
    database = await Database.connect(settings, "toy")
    async with Running(database):
        for batch in range(3):
            await journal(database, *(did(customer, f"{batch}-{customer}") for customer in CUSTOMERS))
            server.kill()
            await eventually(lambda: _is_away(database))
            server.launch()
            server.wait_ready()
            await eventually(lambda: _counted(database, batch + 1))  # noqa: B023 (awaited here)
    await database.close()
    assert await _counted_once(settings)


async def _is_away(database: Database) -> bool:
    try:
        await database.ping()
    except Unavailable:
        return True
    return False


async def _counted(database: Database, count: int) -> bool:
    try:
        found = await states(database)
    except Exception:
        return False
    return len(found) == len(CUSTOMERS) and all(state.count == count for state in found.values())


async def _counted_once(settings: Settings) -> bool:
    database = await Database.connect(settings, "after")
    made = await facts(database)
    await database.close()
    return len(made) == len(set(made)) == len(CUSTOMERS)
