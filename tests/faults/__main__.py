"""`python -m tests.faults --seed 1 --runs 100 --log both`: the long run. Exit code 1 when anything differs."""

import argparse
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from deploy.local.errors import LocalError
from deploy.local.signals import run_until_signalled
from tests.faults.disk import Disk, mountable
from tests.faults.run import Run, plan, play
from tests.faults.stage import Stage

#: So many runs share one platform.
EACH = 25
_NAMESPACE = "FAULTS_MOUNTS"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first run's seed; each next run has the next one")
    parser.add_argument("--runs", type=int, default=20, help="runs on each log")
    parser.add_argument("--log", choices=("postgres", "kafka", "both"), default="both")
    asked = parser.parse_args()
    _with_own_mounts()
    logs = ("postgres", "kafka") if asked.log == "both" else (asked.log,)
    return run_until_signalled(_runs(asked.seed, asked.runs, logs))


async def _runs(seed: int, runs: int, logs: tuple[str, ...]) -> int:
    disk = mountable()
    if not disk:
        say("A tmpfs cannot be mounted here: no run fills PostgreSQL's disk.")
    failed: list[Run] = []
    for log in logs:
        seeds = list(range(seed, seed + runs))
        while seeds:
            failed += await _on_one_stage(seeds, log, disk)
    say(
        f"{runs * len(logs)} runs, {len(failed)} failed{': ' if failed else ''}{', '.join(_again(run) for run in failed)}"
    )
    return 1 if failed else 0


async def _on_one_stage(seeds: list[int], log: str, disk: bool) -> list[Run]:
    """Play the next seeds on one platform, up to the first that fails; that one then again, on a platform of its own."""
    home, failed = _home(), None
    async with Stage(home, log, Disk(home) if disk else None) as stage:  # type: ignore[arg-type]
        for seed in seeds[:EACH]:
            seeds.pop(0)
            run = await play(stage, plan(seed, log, disk))
            say(str(run))
            if run.wrong:
                failed = run
                _keep(home, stage, run)
                break
    if failed is None:
        shutil.rmtree(home, ignore_errors=True)
        return []
    await _reproduce(failed, disk)
    return [failed]


async def _reproduce(run: Run, disk: bool) -> None:
    home = _home()
    async with Stage(home, run.log, Disk(home) if disk else None) as stage:  # type: ignore[arg-type]
        again = await play(stage, plan(run.seed, run.log, disk))
        say(f"  the same seed on a fresh platform: {again}")
        if again.wrong:
            _keep(home, stage, again)
            return
    shutil.rmtree(home, ignore_errors=True)


def _keep(home: Path, stage: Stage, run: Run) -> None:
    """Say what differs, and where everything needed to find out why lies."""
    for line in run.wrong:
        say(f"    {line}")
    stage.failed = True
    (home / "failure.txt").write_text("\n".join([str(run), *run.wrong, "", *stage.said]) + "\n")
    say(f"  logs and data: {home}; again: {_again(run)}")


def _again(run: Run) -> str:
    return f"make faults SEED={run.seed} RUNS=1 LOG={run.log}"


def _home() -> Path:
    return Path(tempfile.mkdtemp(prefix="rapport-faults-"))


def _with_own_mounts() -> None:
    """Start again with mounts of our own, where that is allowed: a tmpfs then ends with us, however we end."""
    unshare = shutil.which("unshare")
    if unshare and os.geteuid() == 0 and _NAMESPACE not in os.environ and mountable():
        os.environ[_NAMESPACE] = "1"
        words = [unshare, "--mount", "--", sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execv(unshare, words)  # noqa: S606 (our own command once more)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalError as error:
        traceback.print_exc()
        say(str(error))
        sys.exit(1)
