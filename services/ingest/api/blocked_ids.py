"""The ids that identify nobody in this workspace, beside those that identify nobody anywhere."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from libs.common.contracts.identifiers import BLOCKED
from libs.common.runtime.postgres import Postgres
from services.ingest import queries, store
from services.ingest.api.sources import Reader, Writer
from services.ingest.blocked_ids import BlockedIds
from services.ingest.domain.limits import ID

MOST = 1_000


def _plain(value: str) -> str:
    if not (plain := value.strip().lower()) or len(plain) > ID:
        raise ValueError(f"a blocked id has 1 to {ID} characters")
    return plain


Value = Annotated[str, Field(min_length=1, max_length=ID), AfterValidator(_plain)]


class BlockedIdList(BaseModel):
    """Events lose these ids at the door, with a warning. Case, and space around an id, make no difference."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"values": ["kiosk", "till-1"]}})

    values: Annotated[list[Value], Field(max_length=MOST, description="the workspace's own, in lower case")]


class AllBlockedIds(BaseModel):
    """`defaults` identify nobody anywhere; so do zeros and hyphens, and templates that nobody filled in (`{{userId}}`)."""

    values: list[str]
    defaults: list[str]


def routes(postgres: Postgres, blocked: BlockedIds) -> APIRouter:
    """Read and replace the workspace's list."""
    router = APIRouter(prefix="/v1/blocked-ids", tags=["sources"])

    @router.get("", summary="The ids that identify nobody")
    async def read(_: Reader) -> AllBlockedIds:
        async with postgres.database.connection() as connection:
            values = await queries.blocked_ids(connection)
        return AllBlockedIds(values=values, defaults=sorted(BLOCKED))

    @router.put("", summary="Replace the workspace's own list; in force within seconds, for events from then on")
    async def replace(given: BlockedIdList, _: Writer) -> AllBlockedIds:
        """Ids that many customers share by mistake: a kiosk's, a test user's. What was stored under them stays."""
        async with postgres.database.transaction() as tx:
            await store.replace_blocked_ids(tx, given.values)
            values = await queries.blocked_ids(tx)
        blocked.values = frozenset(values)
        return AllBlockedIds(values=values, defaults=sorted(BLOCKED))

    return router
