"""Programmes: drafts, and which one is live."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, create_model

from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.etag import CHANGED, IfMatch, set_etag
from services.rewards import queries, store
from services.rewards.customers import Writer
from services.rewards.programme import SECTIONS, Programme, refuse_faulty

Reader = Annotated[Principal, Depends(require("rewards:read"))]


class _Version(BaseModel):
    id: UUID
    version: int
    status: Literal["draft", "live", "retired"]
    live_version: int | None
    name: str
    edited_by: str
    edited_at: datetime
    published_by: str | None
    published_at: datetime | None


#: One version of a programme, with a section for each feature.
ProgrammeVersion: Any = create_model(
    "ProgrammeVersion",
    __base__=_Version,
    __doc__="One version of a programme. Only a draft can change; `live_version` is the one in force, if this programme is.",
    __module__=__name__,
    **cast("dict[str, Any]", {key: (feature.section, ...) for key, feature in SECTIONS.items()}),
)
#: A page of programmes, each in its newest version.
ProgrammePage: Any = create_model(
    "Programmes",
    __doc__="A page of programmes, each in its newest version.",
    __module__=__name__,
    items=(list[ProgrammeVersion], ...),
    next=(UUID | None, ...),
)


def routes(part: ConsumerService) -> APIRouter:
    """Create, read, edit and publish programmes."""
    router = APIRouter(prefix="/v1/programmes", tags=["programmes"])

    @router.post("", status_code=201, summary="A new programme, as a draft", response_model=ProgrammeVersion)
    async def create(programme: Programme, who: Writer, response: Response) -> BaseModel:
        refuse_faulty(programme)
        async with part.tx() as tx:
            return _with_etag(response, await store.create(tx, programme, who.subject))

    @router.get("", summary="The programmes, the newest first", response_model=ProgrammePage)
    async def page(_: Reader, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: UUID | None = None) -> BaseModel:
        async with part.read() as tx:
            rows = await queries.page(tx, limit + 1, cursor)
        answer: BaseModel = ProgrammePage(
            items=[_shown(row) for row in rows[:limit]], next=rows[limit - 1]["id"] if len(rows) > limit else None
        )
        return answer

    @router.get("/{id}", summary="A programme, in its newest version or another", response_model=ProgrammeVersion)
    async def read(
        id: UUID, _: Reader, response: Response, version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
    ) -> BaseModel:
        """The `ETag` says which state it is in: give it as `If-Match` to edit or publish just that."""
        async with part.read() as tx:
            return _with_etag(response, await queries.one(tx, id, version))

    @router.put(
        "/{id}",
        summary="Change the draft; a published version stays, and a new draft begins",
        responses=CHANGED,
        response_model=ProgrammeVersion,
    )
    async def edit(
        id: UUID, programme: Programme, who: Writer, response: Response, if_match: IfMatch = None
    ) -> BaseModel:
        refuse_faulty(programme)
        async with part.tx() as tx:
            return _with_etag(response, await store.edit(tx, id, programme, who.subject, if_match))

    @router.post(
        "/{id}/publish",
        summary="Put the draft in force, for what is folded from now on",
        responses=CHANGED,
        response_model=ProgrammeVersion,
    )
    async def publish(id: UUID, who: Writer, response: Response, if_match: IfMatch = None) -> BaseModel:
        """The programme that was live is retired. Every event falls under exactly one of the two."""
        async with part.tx() as tx:
            return _with_etag(response, await store.publish(tx, id, who.subject, if_match))

    return router


def _with_etag(response: Response, row: queries.Record) -> BaseModel:
    set_etag(response, queries.tag(row))
    return _shown(row)


def _shown(row: queries.Record) -> BaseModel:
    programme = Programme.model_validate_json(row["content"])
    answer: BaseModel = ProgrammeVersion(
        **{name: row[name] for name in _Version.model_fields}, **{key: getattr(programme, key) for key in SECTIONS}
    )
    return answer
