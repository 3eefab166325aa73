"""Creates roles and databases. Callable with or without a running event loop."""

from dataclasses import dataclass

import asyncpg

from deploy.local.threads import blocking


@dataclass(frozen=True)
class Role:
    """A role that owns databases and may create more, but is no superuser."""

    name: str
    password: str


def create_role(superuser_dsn: str, role: Role) -> None:
    """Create the role, or reset its password. Blocks."""
    blocking(_create_role(superuser_dsn, role))


def create_database(dsn: str, name: str, template: str | None) -> None:
    """Create a database, unless it exists. Blocks."""
    blocking(_create_database(dsn, name, template))


async def _create_role(superuser_dsn: str, role: Role) -> None:
    connection = await asyncpg.connect(superuser_dsn, timeout=30)
    try:
        exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role.name)
        if exists:
            return
        async with connection.transaction():
            await connection.execute(f"CREATE ROLE {identifier(role.name)} LOGIN CREATEDB CREATEROLE")
            await connection.execute(f"ALTER ROLE {identifier(role.name)} PASSWORD {literal(role.password)}")
            await connection.execute(f"GRANT pg_monitor, pg_checkpoint, pg_signal_backend TO {identifier(role.name)}")
    finally:
        await connection.close()


async def _create_database(dsn: str, name: str, template: str | None) -> None:
    connection = await asyncpg.connect(dsn, timeout=30)
    try:
        if await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            return
        of = f" TEMPLATE {identifier(template)} STRATEGY FILE_COPY" if template else ""
        await connection.execute(f"CREATE DATABASE {identifier(name)}{of}")
    finally:
        await connection.close()


def identifier(name: str) -> str:
    """A name, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string, quoted for SQL."""
    return "'" + text.replace("'", "''") + "'"
