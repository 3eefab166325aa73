"""Ingest's part of an export."""

from datetime import UTC, datetime

from fastapi import APIRouter
from fastapi.responses import Response

from libs.common.fold.personal import legible
from libs.common.http.exports import Exporter, Held, Person, shown
from libs.common.runtime.postgres import Postgres
from services.ingest import personal


def routes(postgres: Postgres) -> APIRouter:
    """The route needs the scope `customers:export`."""
    router = APIRouter(prefix="/v1/ingest", tags=["privacy"])

    @router.post("/export", summary="What this service has of a person", response_model=Held)
    async def export(person: Person, _: Exporter) -> Response:
        """A part of `POST /v1/customers/{ref}/export`: the person's events that are still in ingest's log (profile's journal has
        them too), and their rejected events. It reads the whole log, so it takes a while."""
        theirs = {ref.partition(":")[2] for ref in person.identifiers}.__contains__
        now = datetime.now(UTC)
        events: list[object] = []
        for partition in range(postgres.settings.partitions):
            next: int | None = 0
            while next is not None:
                async with postgres.database.connection() as tx:
                    records, next = await personal.page(tx, partition, next, now, theirs)
                events += [legible(value) for value in records.values()]
        async with postgres.database.transaction() as tx:
            rejected = [
                {**each._asdict(), "body": each.body.decode("utf-8", "replace")}
                async for each in personal.rejected(tx, now, theirs)
            ]
        return shown({"events": events, "rejected": rejected})

    return router
