"""PostgreSQL's continuous archiving: an installation is lost, and goes on from any moment before."""

import asyncio
import os
import shutil
from pathlib import Path

import asyncpg

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.ports import free_base
from deploy.local.postgres import Postgres
from tests.conftest import new_home
from tests.operations.backups import everything_read, run, states
from tests.operations.shop import Shop
from tests.support import eventually


def configure(data: Path, **settings: str) -> None:
    """Add to postgresql.conf, as an operator does."""
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def own(folder: Path, like: Path) -> None:
    """Give what root has made to the account that PostgreSQL runs as."""
    owner = like.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


async def test_an_installation_goes_on_from_a_moment_after_its_base_backup() -> None:
    folder = new_home("rapport-archive-")
    old, new, archive = folder / "old", folder / "new", folder / "archive"
    archive.mkdir()
    made = Postgres(old, fsync=False)  # makes the cluster; archiving is switched on before its first start
    await asyncio.to_thread(made.prepare)
    made.stop()
    data = old / "postgres" / "data"
    own(archive, data)
    configure(data, archive_mode="on", archive_command=f"cp %p {archive}/%f")
    try:
        async with Platform(home=old, port_base=free_base(), fsync=False) as platform, Api(platform) as api:
            shop = Shop(platform)
            await shop.open(api)
            await shop.sell(5)
            password = (old / "secrets" / "database-password-postgres").read_text().strip()
            sockets = platform.dsn.partition("host=")[2]
            words = ("-h", sockets, "-U", "postgres", "-D", str(folder / "base"), "--checkpoint=fast")
            await asyncio.to_thread(run, "pg_basebackup", *words, password=password)
            await shop.sell(10)
            await shop.credited()
            await eventually(lambda: everything_read(platform.dsn))
            kept, points = await states(platform.dsn, shop.user), shop.points
            connection = await asyncpg.connect(user="postgres", password=password, host=sockets, database="postgres")
            moment = await connection.fetchval("SELECT clock_timestamp()::text")
            await shop.sell(3)  # lost, with what follows from it
            await shop.credited()
            await connection.fetchval("SELECT pg_switch_wal()")
            await eventually(lambda: archived(connection))
            await connection.close()

        (new / "postgres").mkdir(parents=True)
        shutil.move(folder / "base", new / "postgres" / "data")
        restored = new / "postgres" / "data"
        configure(
            restored,
            archive_mode="off",
            restore_command=f"cp {archive}/%f %p",
            recovery_target_time=moment,
            recovery_target_action="promote",
        )
        (restored / "recovery.signal").touch()
        own(new / "postgres", data)
        shutil.copytree(old / "secrets", new / "secrets")
        async with Platform(home=new, port_base=free_base(), fsync=False) as other:
            assert await states(other.dsn, shop.user) == kept
            other.tokens = {**platform.tokens}
            there = Shop(other, shop.user, points)
            assert await there.balance() == points
            await there.sell(2)
            await there.credited()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def archived(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether all WAL that is complete has been archived."""
    waiting = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    return int(await connection.fetchval(waiting)) == 0
