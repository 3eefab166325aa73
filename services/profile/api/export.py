"""The route that exports a person."""

from collections.abc import Iterator
from typing import IO, Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from libs.common.fold.customers import Customers
from libs.common.fold.service import ConsumerService
from libs.common.http.exports import Exporter
from services.profile import export
from services.profile.domain.state import Customer
from services.profile.settings import Settings

_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zip": {}}, "description": "a ZIP of JSON, a folder a service"}
}
CHUNK = 64 * 1024


def export_routes(part: ConsumerService, settings: Settings) -> APIRouter:
    """The route needs the scope `customers:export`."""
    router = APIRouter(prefix="/v1/customers", tags=["privacy"])
    customers = Customers("profile", Customer)

    @router.post(
        "/{ref}/export",
        summary="What all five services have of a customer, as one ZIP of JSON",
        response_class=StreamingResponse,
        responses=_ZIP,
    )
    async def everything(ref: str, request: Request, _: Exporter) -> StreamingResponse:
        """Asks the other services with your token. If one does not answer, the answer is 503: an export is whole."""
        async with part.read() as tx:
            person = await export.person(tx, await customers.resolve(tx, ref))
        others = await export.from_others(person, settings.service_urls, request.headers["authorization"])
        async with part.tx() as tx:
            file = await export.zipped(tx, person, others)
        disposition = f'attachment; filename="{person.customer}.zip"'
        return StreamingResponse(
            _chunks(file), media_type="application/zip", headers={"content-disposition": disposition}
        )

    return router


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk
