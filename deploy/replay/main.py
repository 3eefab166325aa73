"""`rapport replay`: compare the state with the journal, or show what another programme or hook would have done."""

import argparse
import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from pydantic import ValidationError

from deploy.replay import shown
from deploy.replay.installation import installation, settings_of
from libs.common.errors import RapportError
from libs.common.replay.journal import ReplayFailed
from libs.common.replay.replayable import Change, Replayable
from libs.common.replay.run import compared, replaying, snapshot
from libs.common.replay.what_if import what_if
from libs.common.settings import Settings

SERVICES = ("rewards", "triggers", "metrics")
FAILURES = (RapportError, ReplayFailed, ValueError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


def parser() -> argparse.ArgumentParser:
    """The options."""
    top = argparse.ArgumentParser(prog="rapport replay", description=__doc__)
    top.add_argument("services", nargs="*", metavar="SERVICE", help=f"which of {', '.join(SERVICES)} (default: all)")
    what = top.add_mutually_exclusive_group()
    what.add_argument("--programme", type=Path, metavar="FILE", help="show rewards under this programme (JSON)")
    what.add_argument("--hook", type=Path, metavar="FILE", help="show the messages with this hook (JSON)")
    top.add_argument("--json", action="store_true", help="print everything as JSON")
    return top


def main(argv: Sequence[str]) -> int:
    """Exit codes: 0, the state is what the journal gives (or the what-if was made); 1, it differs, or the command failed; 2, wrong
    usage."""
    options = parser().parse_args(argv)
    if unknown := [name for name in options.services if name not in SERVICES]:
        parser().error(f"{', '.join(unknown)} cannot be replayed; these can: {', '.join(SERVICES)}")
    return run("replay", lambda: _main(options))


def run(command: str, work: Callable[[], Awaitable[int]]) -> int:
    """Run `work` on the installation. Prints a failure as one sentence."""

    async def working() -> int:
        return await work()

    try:
        with installation():
            return asyncio.run(working())
    except ValidationError as error:
        print(f"rapport {command}: {error}", file=sys.stderr)
    except FAILURES as error:
        print(f"rapport {command}: {getattr(error, 'detail', None) or error}", file=sys.stderr)
    return 1


async def _main(options: argparse.Namespace) -> int:
    if options.programme or options.hook:
        return await _what_if(options)
    found = []
    for service in options.services or SERVICES:
        settings, replayable = await of(service)
        found.append(await compared(replayable, settings, await settings_of("profile"), progress(service)))
    print(shown.as_json(found) if options.json else shown.comparisons(found))
    return 0 if all(each.equal for each in found) else 1


async def _what_if(options: argparse.Namespace) -> int:
    service = "rewards" if options.programme else "triggers"
    settings, replayable = await of(service)
    content = (options.programme or options.hook).read_bytes()
    module = importlib.import_module(f"services.{service}.replay")
    connection = await asyncpg.connect(settings.dsn, ssl=settings.database_ssl(), timeout=10)
    try:
        kind = what_if(await module.rules_with(connection, content, settings))
    finally:
        await connection.close()
    journal = await settings_of("profile")
    async with (
        replaying(replayable, settings, journal, "what_if", kind=kind, progress=progress(service)) as replay,
        snapshot(replay),
    ):
        differences = module.differences(replay.tx, service, replay.shadow.schema)
        changes: list[Change] = [change async for change in differences]
        customers = await replay.tx.fetchval(f'SELECT count(*) FROM "{service}".customers WHERE merged_into IS NULL')
    sums = {key: {"now": now, "then": then} for key, (now, then) in shown.sums(changes).items()}
    whole = {"service": service, "customers": customers, "changed": len(changes), "sums": sums, "changes": changes}
    print(shown.as_json(whole) if options.json else shown.changes(service, changes, customers))
    return 0


async def of(service: str) -> tuple[Settings, Replayable[Any, Any]]:
    """A service's settings, and how it is replayed."""
    settings = await settings_of(service)
    return settings, importlib.import_module(f"services.{service}.replay").replayable(settings)


def progress(service: str) -> Callable[[int, int], None]:
    """On a terminal, prints one line with the progress."""

    def say(folded: int, missing: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{service}: {folded:,} records folded, {missing:,} to go ", end="", file=sys.stderr, flush=True)

    return say
