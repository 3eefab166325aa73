"""Checks that a service makes at its start: its schema, the log's schema, and the number of partitions.

A history's newest revision comes from its file names (`0001_log.py`; a test checks them), so that services need not
load Alembic.
"""

from functools import lru_cache
from pathlib import Path

import asyncpg

from libs.common.db.pool import Tx
from libs.common.errors import Unavailable

ROOT = Path(__file__).parents[3]


def scripts(history: str) -> Path:
    """The folder of a history: the log's is in libs, a service's beside its code."""
    return ROOT / "libs/common/log/migrations" if history == "log" else ROOT / "services" / history / "migrations"


@lru_cache
def revisions(history: str) -> tuple[str, ...]:
    """All revisions of a history, the oldest first."""
    return tuple(sorted(file.name.partition("_")[0] for file in (scripts(history) / "versions").glob("[0-9]*.py")))


async def refuse_other_partitions(tx: Tx, partitions: int) -> None:
    """Raises Unavailable if the log's number of partitions differs from the settings'."""
    stored = await tx.fetchval("SELECT partitions FROM log.installation")
    if stored != partitions:
        raise Unavailable(
            f"this database's log has {stored} partitions, RAPPORT_PARTITIONS says {partitions}: the number cannot be changed,"
            f" set RAPPORT_PARTITIONS={stored}"
        )


async def refuse_outdated(tx: Tx, history: str) -> None:
    """Raises Unavailable if the schema is older than this code. A newer one is accepted."""
    known = revisions(history)
    try:
        found = await tx.fetchval(f'SELECT version_num FROM "{history}".alembic_version')
    except asyncpg.UndefinedTableError:
        found = None
    if found is None or found in known[:-1]:
        raise Unavailable(f"the schema {history} is at {found}, this release needs {known[-1]}: run `rapport migrate`")
