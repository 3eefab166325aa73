"""Messages over all customers."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from libs.common.contracts.iso_types import Day
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.triggers import queries
from services.triggers.settings import Settings


class Sums(BaseModel):
    """Decisions by what became of them. `queued` are those that wait to be sent; `seen` are among the sent ones."""

    queued: int
    sent: int
    seen: int
    failed: int
    withheld: dict[str, int]


class Summary(Sums):
    """The same over all hooks, and for each by its name."""

    by_hook: dict[str, Sums]


def routes(part: ConsumerService, settings: Settings) -> APIRouter:
    """The summary."""
    router = APIRouter(prefix="/v1/triggers", tags=["summary"])

    @router.get("/summary", summary="Messages sent, seen, failed and withheld, with the reasons")
    async def summary(_: Annotated[Principal, Depends(require("hooks:read"))], until: Day | None = None) -> Summary:
        """Of the messages that are kept (90 days, unless the installation says otherwise). `until` counts them by when the
        events happened, up to the end of that day in the workspace's zone."""
        async with part.read() as tx:
            return Summary(**await queries.summary(tx, until, settings.zone))

    return router
