"""The migrations as a step of the local runner: a process of its own, skipped if it would change nothing."""

import asyncio
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local import child
from deploy.local.errors import StartFailed
from deploy.local.service import ROOT

SOURCES = (
    "libs/common/db/migrate.py",
    "libs/common/db/schema.py",
    "libs/common/contracts",
    "services/migrate.py",
    "libs/common/log/migrations",
    "services/*/migrations",
)
DONE = Path("postgres") / "migrated"  # beside the data, so that both are removed together


async def migrate(home: Path, env: Mapping[str, str]) -> None:
    """Bring the database that `env` names to the newest schema. Raises StartFailed.

    Skipped if the migrations and settings are those of the last success: that saves a second of every start.
    """
    done, wanted = home / DONE, fingerprint(env["RAPPORT_PARTITIONS"])
    if done.exists() and done.read_text() == wanted:
        return
    log = home / "logs" / "migrate.log"
    argv = [sys.executable, "-m", "services.migrate"]
    migration = child.spawn(argv, pid_file=home / "run" / "migrate.json", log=log, env=env, cwd=ROOT)
    try:
        status = await asyncio.to_thread(migration.wait, 120)
    except asyncio.CancelledError:
        migration.kill()
        raise
    if status != 0:
        raise StartFailed("The migration", f"ended with status {status}", log)
    done.write_text(wanted)


def fingerprint(partitions: str) -> str:
    """A hash of the migrations' files and the number of partitions."""
    digest = hashlib.sha256(partitions.encode())
    for pattern in SOURCES:
        for place in sorted(ROOT.glob(pattern)):
            for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
