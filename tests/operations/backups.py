"""What tests of backups ask PostgreSQL, and do with its programs."""

import shutil
import subprocess
from pathlib import Path

import asyncpg

from deploy.local.cluster import environment, programs

#: What each service keeps of a customer, in bytes.
KEPT = {
    "rewards": "SELECT state FROM rewards.customers WHERE id = $1",
    "triggers": "SELECT data FROM triggers.last_events WHERE customer = $1 AND name = 'Order Completed'",
    "metrics": "SELECT state FROM metrics.customers WHERE id = $1",
}
SECRETS = (
    "jwt-private-key.pem",
    "jwt-public-key.pem",
    "customer-private-key.pem",
    "customer-public-key.pem",
    "consent-secret",
    "hash-key",
)


def run(program: str, *words: str, password: str = "") -> None:
    """One of PostgreSQL's programs, as docs/operations.md names it."""
    done = subprocess.run(
        [programs() / program, *words],
        env={**environment(), "PGPASSWORD": password},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


async def states(dsn: str, user: str) -> dict[str, bytes]:
    """What each service that folds the journal keeps of a customer, byte for byte."""
    connection = await asyncpg.connect(dsn)
    try:
        customer = await connection.fetchval(
            "SELECT customer FROM profile.identifiers WHERE kind = 'user' AND value = $1", user
        )
        return {name: await connection.fetchval(query, customer) for name, query in KEPT.items()}
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


def copy_secrets(old: Path, new: Path) -> None:
    """The keys and secrets that tokens and links are signed with."""
    for name in SECRETS:
        shutil.copy(old / "secrets" / name, new / "secrets" / name)
