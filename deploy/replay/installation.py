"""The installation that a command works on: that of the environment, else the local one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from deploy.local.cluster import passwords
from deploy.local.errors import AlreadyRunning, LocalError
from deploy.local.place import Place
from deploy.local.platform import DATABASE
from deploy.local.postgres import Postgres
from libs.common.settings import Settings
from services.connections import service_settings


@contextmanager
def installation() -> Iterator[None]:
    """Let the environment name the databases. If it names none, it will name the local PostgreSQL of RAPPORT_HOME, which is
    started for the duration if it does not run. Raises LocalError if RAPPORT_HOME holds none."""
    if any(name.endswith("DATABASE_URL") and name.startswith("RAPPORT_") for name in os.environ):
        yield
        return
    home = Place.load().home
    if not (home / "postgres" / "data").exists():
        raise LocalError(f"{home} holds no data: set RAPPORT_HOME, or RAPPORT_DATABASE_URL.")
    own = Postgres(home)
    server: Postgres | None = own
    try:
        os.environ["RAPPORT_DATABASE_URL"] = own.start(DATABASE)
        print(f"Started PostgreSQL for this command, on the data in {home}.", file=sys.stderr)
    except AlreadyRunning:
        server, os.environ["RAPPORT_DATABASE_URL"] = None, _running(home)
    try:
        yield
    finally:
        if server:
            server.stop()


def _running(home: Path) -> str:
    """The address of the server that another process (`rapport run`) has started."""
    elsewhere = home / "run" / "postgres-socket"
    sockets = elsewhere.read_text() if elsewhere.exists() else home / "postgres" / "socket"
    return f"postgresql://rapport:{quote(passwords(home)['rapport'], safe='')}@/{DATABASE}?host={sockets}"


async def settings_of(service: str) -> Settings:
    """A service's settings, with the number of partitions that its database has."""
    settings = service_settings(service)
    connection = await asyncpg.connect(settings.dsn, ssl=settings.database_ssl(), timeout=10)
    try:
        partitions = await connection.fetchval("SELECT partitions FROM log.installation")
    finally:
        await connection.close()
    return settings.model_copy(update={"partitions": partitions})
