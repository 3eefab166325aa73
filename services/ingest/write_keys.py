"""Write keys, cached: no query for each request, a revocation known within seconds, and ingest outlives PostgreSQL."""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unauthenticated, Unavailable
from libs.common.observability.telemetry import log
from libs.common.runtime.cancel import cancel_and_wait
from libs.common.runtime.component import Check
from libs.common.runtime.postgres import Postgres
from services.ingest import queries, store
from services.ingest.domain import keys
from services.ingest.domain.hints import is_token
from services.ingest.queries import Grant

REFRESH = 2.0  # seconds between readings of the cached keys, and for which an unknown key is remembered
CACHED = 10_000

logger = log("write keys")


class KeyStore(Postgres):
    """On Kafka, PostgreSQL only holds keys and lists: without it ingest goes on, and says so."""

    async def check(self) -> Check:
        try:
            return await super().check()
        except Unavailable as error:
            if self.settings.log == "kafka":
                return Check(True, f"away, cached write keys go on working ({error.detail})")
            raise


class WriteKeys:
    """`grant` says what a key allows. Cached keys go on working while PostgreSQL is away; others are then answered 503."""

    name = "write keys"

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._grants: OrderedDict[str, Grant] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[Grant | None]] = {}
        self._refresher: asyncio.Task[None] | None = None
        self._away = ""
        self._used: set[str] = set()

    async def start(self) -> None:
        self._refresher = asyncio.create_task(self._refresh_forever())

    async def stop(self) -> None:
        await cancel_and_wait(*(task for task in (self._refresher, *self._lookups.values()) if task is not None))
        self._refresher = None
        try:
            async with asyncio.timeout(2):
                await self._note_used()
        except (Unavailable, *UNAVAILABLE) as error:
            logger.warning("when write keys were last used was not noted", error=str(error))

    async def check(self) -> Check:
        known = f"{len(self._grants):,} keys in use"
        return Check(True, f"{known}; they cannot be refreshed: {self._away}" if self._away else known)

    def died(self) -> str:
        """The background refresh must never end."""
        ended = self._refresher is not None and self._refresher.done()
        return "write keys are not refreshed any more" if ended else ""

    def known(self, key: str) -> Grant | None:
        """What the key allows, None when that has to be asked, or is nothing."""
        grant = self._grants.get(key)
        if grant is None or not grant.is_valid(datetime.now(UTC)):
            return None
        self._used.add(key)
        return grant

    async def grant(self, key: str) -> Grant:
        """What the key allows.

        Raises Unauthenticated when it is unknown, revoked or expired; Unavailable when PostgreSQL cannot be asked.
        """
        grant = self._grants.get(key)
        if grant is None:
            grant = await self._look_up(key)
        if grant is None or not grant.is_valid(datetime.now(UTC)):
            raise unknown_key(key)
        self._used.add(key)
        return grant

    def forget(self, digest: bytes) -> None:
        """A key of ours was made or revoked: ask PostgreSQL the next time."""
        for cache in (self._grants, self._unknown):
            for key in [key for key in cache if keys.digest(key) == digest]:
                del cache[key]

    async def _look_up(self, key: str) -> Grant | None:
        now = asyncio.get_running_loop().time()
        if self._unknown.get(key, 0) > now or not keys.is_well_formed(key):
            return None
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = asyncio.create_task(self._read(key))
            lookup.add_done_callback(lambda _: self._lookups.pop(key))
        return await asyncio.shield(lookup)

    async def _read(self, key: str) -> Grant | None:
        digest = keys.digest(key)
        try:
            async with asyncio.timeout(5), self._postgres.database.connection() as connection:
                grant = (await queries.grants(connection, [digest])).get(digest)
        except UNAVAILABLE as error:
            raise Unavailable("the write key cannot be checked just now: send the events again", 2) from error
        if grant is None:
            self._unknown[key] = asyncio.get_running_loop().time() + REFRESH
            _bound(self._unknown)
        else:
            self._grants[key] = grant
            _bound(self._grants)
        return grant

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            try:
                async with asyncio.timeout(2):
                    await self._refresh()
                    await self._note_used()
            except (Unavailable, *UNAVAILABLE) as error:
                if not self._away:
                    logger.warning("write keys cannot be refreshed, cached ones go on working", error=str(error))
                self._away = f"{type(error).__name__}: {error}"
            else:
                self._away = ""

    async def _note_used(self) -> None:
        """Say of the keys used since the last time that they are in use, to the minute."""
        used, self._used = self._used, set()
        if used:
            try:
                async with self._postgres.database.transaction() as tx:
                    await store.note_used(tx, [keys.digest(key) for key in used])
            except BaseException:
                self._used |= used
                raise

    async def _refresh(self) -> None:
        hashes = {keys.digest(key): key for key in self._grants}
        if not hashes:
            return
        async with self._postgres.database.connection() as connection:
            found = await queries.grants(connection, list(hashes))
        for digest, key in hashes.items():
            if digest in found:
                self._grants[key] = found[digest]
            else:
                self._grants.pop(key, None)


def unknown_key(key: str) -> Unauthenticated:
    """The error for a key that allows nothing."""
    if is_token(key):
        return Unauthenticated(
            "that is an API token, not a write key (rk_…): POST /v1/sources makes a source and its write key"
        )
    if not keys.is_well_formed(key):
        return Unauthenticated("this is not a write key (rk_…): check that it was copied whole")
    return Unauthenticated(f"the write key {keys.shown(key)}… is unknown, revoked or expired: ask for another one")


def _bound(cache: OrderedDict[str, Grant] | OrderedDict[str, float]) -> None:
    while len(cache) > CACHED:
        cache.popitem(last=False)
