"""A backup of a running installation, restored into a new one, which goes on where the old one was."""

import asyncio
import shutil

from deploy.demo.api import Api
from deploy.local.platform import DATABASE, Platform
from deploy.local.ports import free_base
from deploy.local.postgres import Postgres
from tests.conftest import new_home
from tests.operations.backups import copy_secrets, everything_read, run, states
from tests.operations.shop import Shop
from tests.support import eventually


async def test_a_backup_restores_into_a_new_installation_which_goes_on(api: Api, platform: Platform) -> None:
    old_shop = Shop(platform)
    await old_shop.open(api)
    await old_shop.sell(10)
    await old_shop.sell(1, message=f"once-{old_shop.user}")
    await old_shop.credited()

    await eventually(lambda: everything_read(platform.dsn))
    kept = await states(platform.dsn, old_shop.user)
    assert all(kept.values())
    folder = new_home("rapport-backup-")
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
        copy_secrets(platform.home, home)

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
