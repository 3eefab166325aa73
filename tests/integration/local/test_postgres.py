"""PostgreSQL as our child: it starts, keeps what it was told, and never outlives or blocks its next owner."""

import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from deploy.local import child
from deploy.local.errors import AlreadyRunning, LocalError
from deploy.local.postgres import Postgres
from tests.integration.local.conftest import freeze

Start = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def postgres(home: Path) -> Iterator[Postgres]:
    server = Postgres(home, fsync=False)
    yield server
    server.stop()


async def value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def socket_folder(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_starts_on_a_socket_of_its_own_and_keeps_what_was_written(postgres: Postgres, home: Path) -> None:
    dsn = postgres.start()
    await value(dsn, "CREATE TABLE kept AS SELECT 'Žofie' AS name")
    assert await value(dsn, "SHOW listen_addresses") == ""
    assert await value(
        dsn, "SELECT datlocprovider::text || datlocale FROM pg_database WHERE datname = current_database()"
    ) == ("bC.UTF-8")
    assert await value(dsn, "SHOW is_superuser") == "off"
    assert mode(socket_folder(dsn)) == 0o700
    assert all(mode(file) == 0o600 for file in (home / "secrets").iterdir())
    postgres.stop()
    assert await value(postgres.start(), "SELECT name FROM kept") == "Žofie"


async def test_sqlalchemy_takes_the_same_address(postgres: Postgres) -> None:
    dsn = postgres.start()
    engine = create_async_engine(dsn.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT current_user"))).scalar_one() == "rapport"
    await engine.dispose()


async def test_a_database_is_copied_from_a_template_once(postgres: Postgres) -> None:
    await value(postgres.start(), "CREATE TABLE kept AS SELECT 7 AS number")
    copy = postgres.create_database("copy", template="rapport")
    assert await value(copy, "SELECT number FROM kept") == 7
    await value(copy, "UPDATE kept SET number = 8")
    assert await value(postgres.create_database("copy", template="rapport"), "SELECT number FROM kept") == 8


def test_a_second_owner_is_refused_with_the_first_ones_pid(postgres: Postgres, home: Path) -> None:
    postgres.start()
    with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}\..*RAPPORT_HOME"):
        Postgres(home).start()


async def test_comes_back_after_a_crash_with_what_was_committed(postgres: Postgres) -> None:
    dsn = postgres.start()
    await value(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
    postgres.kill()
    assert postgres.exit_status() == -signal.SIGKILL
    postgres.launch()
    postgres.wait_ready()
    assert await value(dsn, "SELECT number FROM kept") == 7


async def test_a_killed_owners_server_is_ended_by_the_next_owner(postgres: Postgres, home: Path, owner: Start) -> None:
    process, left = owner("postgres", str(home))
    freeze(left)
    process.kill()
    process.wait()
    assert child.exists(left)
    assert await value(postgres.start(), "SELECT 1") == 1
    assert postgres.pid != left
    assert not child.runs(left, "postgres", str(home / "postgres" / "data"))


def test_a_pid_file_that_names_another_program_does_not_block(postgres: Postgres, home: Path) -> None:
    postgres.start()
    stale = home / "postgres" / "data" / "postmaster.pid"
    lines = stale.read_text().splitlines()
    postgres.stop()
    stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    os.chown(stale, stale.parent.stat().st_uid, stale.parent.stat().st_gid)
    postgres.start()
    assert postgres.pid


@pytest.mark.parametrize("name", ["long-" * 20, "odd, ü & “quoted”"])
async def test_a_path_that_cannot_be_a_sockets_gets_a_private_short_one(home: Path, name: str) -> None:
    server = Postgres(home / name, fsync=False)
    dsn = server.start()
    try:
        folder = socket_folder(dsn)
        assert len(os.fsencode(folder)) < 60
        assert mode(folder) == 0o700
        assert await value(dsn, "SELECT 1") == 1
        server.kill()
        server.launch()
        server.wait_ready()
        assert server.dsn("rapport") == dsn
    finally:
        server.stop()
    assert not folder.exists()


def test_data_of_another_version_is_refused_with_what_to_do(postgres: Postgres, home: Path) -> None:
    postgres.start()
    postgres.stop()
    (home / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(LocalError, match=r"PostgreSQL 12, .* RAPPORT_HOME"):
        postgres.start()
