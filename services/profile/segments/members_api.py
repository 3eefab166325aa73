"""The route of a static segment's members: a list of customers, uploaded whole."""

import csv
from collections.abc import Iterator
from io import StringIO
from itertools import islice
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from libs.common.contracts.profile import JOURNAL
from libs.common.errors import Invalid, Malformed, NotFound
from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.http.limits import Disconnected, read_body
from services.profile.domain.state import Customer
from services.profile.segments import queries, store
from services.profile.segments.refresh import move_members
from services.profile.segments.rulebooks import Rulebooks

#: The path of the list, which is no JSON; and how many bytes it may have.
PATH = "/v1/segments/{}/members"
LARGEST = 64 * 1024 * 1024
#: Characters of a cell of the list.
LONGEST = 128 * 1024
#: Customers in one transaction, and unknown ones that an answer names.
PAGE = 200
NAMED = 100


_DOCUMENTED = {
    "requestBody": {
        "required": True,
        "content": {"text/csv": {"schema": {"type": "string"}, "example": "ref\nuser:ann\nuser:ben\n"}},
    }
}


class Uploaded(BaseModel):
    """How many entered and left, and which lines name nobody that is known (the first 100 of `unknown`)."""

    entered: int
    exited: int
    unknown: int
    unknown_lines: list[str]


def routes(part: ConsumerService, rulebooks: Rulebooks) -> APIRouter:
    """Replace the members of a static segment."""
    router = APIRouter(prefix="/v1/segments", tags=["segments"])
    customers = Customers("profile", Customer)

    async def move(moves: dict[UUID, bool], id: UUID, by: str) -> None:
        settings = part.settings
        async with part.tx() as tx:
            name, version = await store.static_name(tx, id, lock=True)
            rules = await rulebooks.rules(tx, await part.fold.positions.rulebook(tx))
            written = await move_members(tx, moves, name, version, by, rules, settings.zone, settings.partitions)
        part.fold.notifier.notify_later(JOURNAL, written)

    @router.put(
        "/{id}/members", summary="Replace the members of a static segment by a list (CSV)", openapi_extra=_DOCUMENTED
    )
    async def replace(
        id: UUID,
        who: Annotated[Principal, Depends(require("segments:write"))],
        request: Request,
    ) -> Uploaded:
        """One customer a line, in the first column: an id, `user:ann` or `anon:a1`. Members who are not on the list leave. The
        list may be sent again: what is done already changes nothing."""
        lines = await _text(request)
        async with part.read() as tx:
            name, _ = await store.static_name(tx, id)
            before = set(await queries.every_member(tx, name))
        wanted: set[UUID] = set()
        unknown: list[str] = []
        refs = _refs(lines)
        while page := list(islice(refs, PAGE)):
            async with part.read() as tx:
                for ref in page:
                    try:
                        wanted.add(await customers.resolve(tx, ref))
                    except (NotFound, Invalid):
                        unknown.append(ref)
        moves = iter(
            [*((each, True) for each in sorted(wanted - before)), *((each, False) for each in sorted(before - wanted))]
        )
        while part_of := dict(islice(moves, PAGE)):
            await move(part_of, id, who.subject)
        return Uploaded(
            entered=len(wanted - before),
            exited=len(before - wanted),
            unknown=len(unknown),
            unknown_lines=unknown[:NAMED],
        )

    return router


async def _text(request: Request) -> str:
    """The list, as text. Raises Malformed when it is none."""
    try:
        body = await read_body(request.scope, request.receive, LARGEST, request.app.state.settings.body_seconds)
    except Disconnected:
        raise Malformed("The list did not arrive whole: send it again.") from None
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"The list is not UTF-8 (byte {error.start}): save it as UTF-8.") from None
    if "\0" in text:
        raise Malformed("The list contains the character NUL: send CSV.")
    return text


def _refs(lines: str) -> Iterator[str]:
    """The first column of each line, without a heading. Raises Malformed at a line that is no CSV."""
    csv.field_size_limit(LONGEST)
    rows = csv.reader(StringIO(lines, newline=""), strict=True)
    try:
        for number, row in enumerate(rows):
            ref = row[0].strip() if row else ""
            if ref and not (number == 0 and ref.casefold() in ("ref", "customer", "id", "user", "user_id")):
                yield ref
    except csv.Error as error:
        raise Malformed(f"The list is no CSV at line {rows.line_num}: {error}.") from None
