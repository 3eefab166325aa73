"""A backup of a running installation, restored into a new one, which goes on where the old one was."""

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path

import asyncpg

from deploy.demo.api import Api
from deploy.local.cluster import environment, programs
from deploy.local.platform import DATABASE, Platform
from deploy.local.ports import free_base
from deploy.local.postgres import Postgres
from tests.operations.shop import Shop
from tests.support import eventually

KEEPERS = ("rewards", "triggers", "metrics")


def run(program: str, *words: str) -> None:
    """One of PostgreSQL's programs, as docs/operations.md names it."""
    done = subprocess.run(
        [programs() / program, *words], env=environment(), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


async def states(dsn: str, user: str) -> dict[str, bytes]:
    """A customer's state in each service that keeps one, byte for byte."""
    statement = 'SELECT state FROM "{0}".customers c JOIN "{0}".identifiers i ON i.customer = c.id WHERE kind = $1 AND value = $2'
    connection = await asyncpg.connect(dsn)
    try:
        return {name: await connection.fetchval(statement.format(name), "user", user) for name in KEEPERS}
    finally:
        await connection.close()


async def everything_read(dsn: str) -> bool:
    """Seen at one moment: what one service has just written may be behind another's back."""
    behind = " UNION ALL ".join(
        f"SELECT h.next - p.next FROM {service}.positions p JOIN log.heads h USING (topic, partition)"
        " WHERE p.reader <> 'forwarder'"
        for service in ("profile", "rewards", "triggers", "metrics")
    )
    queued = "SELECT count(*) FROM triggers.deliveries WHERE state = 'queued'"
    connection = await asyncpg.connect(dsn)
    try:
        return bool(
            await connection.fetchval(f"SELECT bool_and(n = 0) FROM ({behind} UNION ALL {queued}) AS waiting (n)")
        )
    finally:
        await connection.close()


async def test_a_backup_restores_into_a_new_installation_which_goes_on(api: Api, platform: Platform) -> None:
    old_shop = Shop(platform)
    await old_shop.open(api)
    await old_shop.sell(10)
    await old_shop.sell(1, message=f"once-{old_shop.user}")
    await old_shop.credited()

    await eventually(lambda: everything_read(platform.dsn))
    kept = await states(platform.dsn, old_shop.user)
    assert all(kept.values())
    folder = Path(tempfile.mkdtemp(prefix="rapport-backup-"))
    home = folder / "home"
    try:
        later = Shop(platform)  # sells on while the backup is made: its orders are wholly in it, or not at all
        selling = asyncio.create_task(later.sell(30))
        file = str(folder / "rapport.dump")
        await asyncio.to_thread(run, "pg_dump", "--format=custom", f"--file={file}", platform.dsn)
        await selling

        new = Postgres(home, fsync=False)
        await asyncio.to_thread(new.start, DATABASE)
        try:
            words = ("--exit-on-error", "--single-transaction", f"--dbname={new.dsn(DATABASE)}", file)
            await asyncio.to_thread(run, "pg_restore", *words)
            assert await states(new.dsn(DATABASE), old_shop.user) == kept
        finally:
            await asyncio.to_thread(new.stop)
        for kind in (
            "jwt-private-key.pem",
            "jwt-public-key.pem",
            "customer-private-key.pem",
            "customer-public-key.pem",
        ):
            shutil.copy(platform.home / "secrets" / kind, home / "secrets" / kind)

        async with Platform(home=home, port_base=free_base(), fsync=False) as other:
            other.tokens = {**platform.tokens}  # keys and tokens of the old installation hold in the new one
            shop = Shop(other, old_shop.user, old_shop.points)
            await shop.credited()
            await shop.sell(1, message=f"once-{shop.user}")
            shop.points -= 10  # known already: a duplicate
            await shop.sell(3)
            await shop.credited()
            half = Shop(other, later.user)
            half.points = await half.balance()
            await half.sell(2)
            await half.credited()
            async with Api(other) as there:
                assert (await there.get("rewards", "/v1/rewards/summary"))["ledger_sum"] == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
