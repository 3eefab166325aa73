"""The route of the sums over all customers."""

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
    """Messages by outcome. `queued` ones wait to be sent; `seen` ones are among the sent."""

    queued: int
    sent: int
    seen: int
    failed: int
    withheld: dict[str, int]


class Summary(Sums):
    """The sums of all hooks, and of each hook by its name."""

    by_hook: dict[str, Sums]


def routes(part: ConsumerService, settings: Settings) -> APIRouter:
    """The route."""
    router = APIRouter(prefix="/v1/triggers", tags=["summary"])

    @router.get("/summary", summary="Messages sent, seen, failed and withheld, with the reasons")
    async def summary(_: Annotated[Principal, Depends(require("hooks:read"))], until: Day | None = None) -> Summary:
        """Counts the messages that are kept (90 days, unless the installation is set otherwise). `until` counts only those whose
        events happened up to the end of that day in the workspace's zone."""
        async with part.read() as tx:
            return Summary(**await queries.summary(tx, until, settings.zone))

    return router
