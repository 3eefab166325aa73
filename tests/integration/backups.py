"""A service's databases that were one once: the one in use, and its backup. Its log is Kafka, as is profile's journal."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Database
from libs.common.log.forward import Forwarder
from libs.common.log.kafka import ensure_topics
from libs.common.settings import Settings
from tests.support import eventually

S = TypeVar("S", bound=Settings)

_HEADS = "SELECT partition, next FROM log.heads WHERE topic = $1 ORDER BY 1"
_STANDS = "SELECT partition, next FROM \"{0}\".positions WHERE reader = 'fold' ORDER BY 1"
_UNSENT = """
SELECT sum(h.next - p.next) FROM log.heads h JOIN "{0}".positions p USING (topic, partition) WHERE reader = 'forwarder'
"""


class Databases(Generic[S]):
    """Of one service, each with the settings that open it."""

    def __init__(self, postgres: Postgres, settings: Settings, kind: type[S]) -> None:
        self._postgres = postgres
        self._settings = settings.model_dump()
        self._kind = kind
        self._names: dict[str, str] = {}

    def fresh(self) -> S:
        """One that is migrated, and empty."""
        return self._make("template_rapport")

    def copy(self, of: S) -> S:
        """A backup: nobody may be connected."""
        return self._make(self._names[of.dsn])

    def _make(self, template: str) -> S:
        dsn = self._postgres.create_database(name := f"restored_{uuid.uuid4().hex}", template=template)
        settings = self._kind(**self._settings | {"database_url": SecretStr(dsn)})
        self._names[settings.dsn] = name
        return settings


@asynccontextmanager
async def journal_sent(journal: Database, settings: Settings) -> AsyncIterator[None]:
    """Profile's journal, which tests write in its place, goes to Kafka."""
    await ensure_topics(settings, [JOURNAL])
    forwarder = Forwarder(journal, settings, "profile", JOURNAL)
    await forwarder.start()
    yield
    await forwarder.stop()


async def rows(settings: Settings, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """What a database answers, asked through a connection of its own."""
    database = await Database.connect(settings, "look")
    try:
        return [tuple(row) for row in await database.pool.fetch(query, *arguments)]
    finally:
        await database.close()


async def caught_up(journal: Database, service: str, settings: Settings, *, sent: bool = True) -> None:
    """Wait until a service has folded all of profile's journal and, if wanted, sent all of its facts."""
    database = await Database.connect(settings, "look")

    async def level() -> bool:
        wanted = await journal.pool.fetch(_HEADS, JOURNAL)
        if await database.pool.fetch(_STANDS.format(service)) != wanted:
            return False
        return not sent or await database.pool.fetchval(_UNSENT.format(service)) == 0

    try:
        await eventually(level)
    finally:
        await database.close()
