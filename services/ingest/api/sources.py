"""Sources and their write keys over REST. A key is shown once, when it is made; only its hash is kept."""

import json
import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt

from libs.common.contracts.written import CURRENCY, Written
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.runtime.postgres import Postgres
from services.ingest import queries, store
from services.ingest.api.private_fields import PrivateFieldRules, as_json
from services.ingest.domain import keys
from services.ingest.write_keys import WriteKeys

Reader = Annotated[Principal, Depends(require("sources:read"))]
Writer = Annotated[Principal, Depends(require("sources:write"))]
Limit = Annotated[int, Query(ge=1, le=200)]

OLDEST = UUID(int=0)
NAME = Written("^[a-z0-9-]{1,64}$", "a name has 1 to 64 lower-case letters, digits and hyphens, such as shop-web")
_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:]+|null")


def _origin(value: str) -> str:
    if not _ORIGIN.fullmatch(value):
        raise ValueError("an origin is scheme and host, lower case and without a path: https://shop.example")
    return value


Origin = Annotated[str, Field(max_length=200), AfterValidator(_origin)]
Origins = Annotated[
    list[Origin] | None,
    Field(max_length=100, description="pages that may send, null for any; without effect on servers and apps"),
]
Currency = Annotated[str, CURRENCY, Field(description="of amounts that name none (ISO 4217)")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewSource(_Strict):
    """An application that will send events."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "shop-web", "default_currency": "EUR"}})

    name: Annotated[str, NAME, Field(examples=["shop-web"])]
    default_currency: Currency | None = None
    allowed_origins: Origins = None
    private_fields: PrivateFieldRules = None


class SourceChange(_Strict):
    """What is left out stays as it is."""

    model_config = ConfigDict(json_schema_extra={"example": {"allowed_origins": ["https://shop.example"]}})

    default_currency: Currency = "USD"
    allowed_origins: Origins = None
    private_fields: PrivateFieldRules = None


PerSecond = Annotated[
    StrictInt | None,
    Field(ge=1, le=1_000_000, description="events a second in each process, over time; null for any number"),
]
PerDay = Annotated[
    StrictInt | None,
    Field(ge=1, le=10**12, description="events a day in the workspace's zone; null for any number"),
]


class NewKey(_Strict):
    """A further key. With `replaces`, an old one ends by itself once `overlap` seconds have passed: until then both hold."""

    model_config = ConfigDict(json_schema_extra={"example": {"expires_in": 31_536_000}})

    expires_in: Annotated[StrictInt | None, Field(ge=60, le=315_360_000, description="seconds; null for ever")] = None
    replaces: Annotated[UUID | None, Field(description="the id of the key that this one takes the place of")] = None
    overlap: Annotated[
        StrictInt, Field(ge=0, le=31_536_000, description="seconds in which both hold; a week by default")
    ] = 604_800
    events_per_second: PerSecond = None
    events_per_day: PerDay = None


class KeyLimits(_Strict):
    """What is left out stays as it is. A key over a limit is answered 429 with `Retry-After`."""

    model_config = ConfigDict(json_schema_extra={"example": {"events_per_second": 500, "events_per_day": None}})

    events_per_second: PerSecond = None
    events_per_day: PerDay = None


class Source(BaseModel):
    """An application that sends events."""

    id: UUID
    name: str
    default_currency: str
    allowed_origins: list[str] | None
    private_fields: PrivateFieldRules
    created_at: datetime


class CreatedSource(Source):
    """`write_key` is shown this once."""

    write_key: str


class CreatedKey(BaseModel):
    """`write_key` is shown this once."""

    id: UUID
    write_key: str


class Key(BaseModel):
    """A write key as it can be shown: by its first characters."""

    id: UUID
    prefix: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="to the minute; null for one that never was")]
    events_per_second: int | None
    events_per_day: int | None


class SourcePage(BaseModel):
    items: list[Source]
    next: str | None


class KeyPage(BaseModel):
    items: list[Key]
    next: str | None


def _shown(row: Any) -> dict[str, Any]:
    private = row["private_fields"]
    return {**row, "private_fields": None if private is None else json.loads(private)}


def routes(postgres: Postgres, write_keys: WriteKeys, can_hash: bool) -> APIRouter:
    """Create, list and change sources; make, list and revoke their keys. `can_hash` if there is a key for private fields."""
    router = APIRouter(prefix="/v1/sources", tags=["sources"])

    @router.post("", status_code=201, summary="Add a source; its write key is shown this once")
    async def create(new: NewSource, _: Writer) -> CreatedSource:
        currency = new.default_currency or postgres.settings.default_currency
        private = as_json(new.private_fields, can_hash)
        async with postgres.database.transaction() as tx:
            identity = await store.add_source(tx, new.name, currency, new.allowed_origins, private)
            _key, write_key = await store.add_key(tx, identity, None)
            source = await queries.source(tx, identity)
        return CreatedSource(**_shown(source), write_key=write_key)

    @router.get("", summary="The sources, by name")
    async def page(_: Reader, limit: Limit = 50, cursor: str = "") -> SourcePage:
        async with postgres.database.connection() as connection:
            found = await queries.sources(connection, cursor, limit + 1)
        items = [Source(**_shown(row)) for row in found[:limit]]
        return SourcePage(items=items, next=items[-1].name if len(found) > limit else None)

    @router.get("/{id}", summary="One source")
    async def read(id: UUID, _: Reader) -> Source:
        async with postgres.database.connection() as connection:
            return Source(**_shown(await queries.source(connection, id)))

    @router.patch("/{id}", summary="Change a source's currency, origins or private fields; in force within seconds")
    async def change(id: UUID, changes: SourceChange, _: Writer) -> Source:
        columns = changes.model_dump(exclude_unset=True)
        if "private_fields" in columns:
            columns["private_fields"] = as_json(changes.private_fields, can_hash)
        async with postgres.database.transaction() as tx:
            await store.change_source(tx, id, columns)
            return Source(**_shown(await queries.source(tx, id)))

    @router.post("/{id}/keys", status_code=201, summary="Make another write key; shown this once")
    async def add_key(id: UUID, _: Writer, new: NewKey | None = None) -> CreatedKey:
        """To change a key without losing an event: make one that `replaces` the old one, give it to the apps, and see in
        the list that the old one is used no more before its time is over."""
        new = new or NewKey()
        old = None
        async with postgres.database.transaction() as tx:
            await store.require_source(tx, id)
            if new.replaces is not None:
                old = await store.retire_key(tx, id, new.replaces, new.overlap)
            key, write_key = await store.add_key(tx, id, new.expires_in, new.events_per_second, new.events_per_day)
        for digest in (keys.digest(write_key), *([] if old is None else [old])):
            write_keys.forget(digest)
        return CreatedKey(id=key, write_key=write_key)

    @router.get("/{id}/keys", summary="A source's write keys, by their first characters")
    async def list_keys(id: UUID, _: Reader, limit: Limit = 50, cursor: UUID = OLDEST) -> KeyPage:
        async with postgres.database.connection() as connection:
            await store.require_source(connection, id)
            found = await queries.keys(connection, id, cursor, limit + 1)
        items = [Key(**row) for row in found[:limit]]
        return KeyPage(items=items, next=str(items[-1].id) if len(found) > limit else None)

    @router.patch("/{id}/keys/{key_id}", summary="Limit what may come by a write key; in force within seconds")
    async def limit(id: UUID, key_id: UUID, limits: KeyLimits, _: Writer) -> Key:
        async with postgres.database.transaction() as tx:
            digest = await store.limit_key(tx, id, key_id, limits.model_dump(exclude_unset=True))
            key = Key(**await queries.key(tx, id, key_id))
        write_keys.forget(digest)
        return key

    @router.delete("/{id}/keys/{key_id}", status_code=204, summary="Revoke a write key, within seconds everywhere")
    async def revoke(id: UUID, key_id: UUID, _: Writer) -> Response:
        async with postgres.database.transaction() as tx:
            digest = await store.revoke_key(tx, id, key_id)
        write_keys.forget(digest)
        return Response(status_code=204)

    return router
