"""`rapport rebuild SERVICE`: rebuild one service's state from the journal, while all run, and swap it in."""

import argparse
from collections.abc import Sequence

from deploy.replay.installation import settings_of
from deploy.replay.main import SERVICES, of, progress, run
from libs.common.replay.run import replaying
from libs.common.replay.swap import swap
from libs.common.runtime.failpoints import failpoint


def parser() -> argparse.ArgumentParser:
    """The options."""
    top = argparse.ArgumentParser(prog="rapport rebuild", description=__doc__)
    top.add_argument("service", choices=SERVICES)
    return top


def main(argv: Sequence[str]) -> int:
    """Exit codes: 0, swapped in; 1, it failed, and the live state is unchanged; 2, wrong usage."""
    options = parser().parse_args(argv)
    return run("rebuild", lambda: _main(options.service))


async def _main(service: str) -> int:
    settings, replayable = await of(service)
    journal = await settings_of("profile")
    async with replaying(replayable, settings, journal, "rebuild", durable=True, progress=progress(service)) as replay:
        failpoint("rebuild.near")
        held = await swap(replay)
        records, differing = replay.records, replay.differing_facts
    print(
        f"{service}: rebuilt the state from {records:,} records and swapped it in; the service was held for {held:.2f} s."
    )
    if differing:
        print(f"{differing:,} of {replay.facts:,} facts would be decided differently now. The facts in the log stay.")
    return 0
