"""What a payload would become, over REST: shown with its reasons, and not stored."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from libs.common.contracts.records import decode
from libs.common.runtime.postgres import Postgres
from services.ingest import queries
from services.ingest.api.sources import Reader
from services.ingest.inbound import store
from services.ingest.inbound.mapping import CompiledMapping, Mapped
from services.ingest.inbound.ready import AnyMapping, chosen
from services.ingest.inbound.receiver import InboundReceiver, delivered
from services.ingest.queries import Grant


class Trial(BaseModel):
    """A payload, as the sender would post it, and its headers; under the mapping that is in force, or under another one."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "headers": {"X-Shopify-Topic": "orders/cancelled", "X-Shopify-Webhook-Id": "b54557e4"},
                "payload": {"id": 1001, "cancelled_at": "2026-01-31T12:00:00Z", "customer": {"id": 7}},
                "mapping": "shopify",
            }
        },
    )

    payload: dict[str, Any]
    headers: Annotated[dict[str, Annotated[str, Field(max_length=2_000)]], Field(max_length=100)] = {}
    mapping: AnyMapping | None = None


class Outcome(BaseModel):
    """What one entry of the mapping makes of a payload: an event, or why there is none."""

    entry: int
    status: Literal["ok", "warning", "rejected", "skipped"]
    reason: str | None
    left_out: Annotated[list[str], Field(description="members whose expression reads what is not there")]
    event: Annotated[dict[str, Any] | None, Field(description="as the log would hold it")]


class TrialResult(BaseModel):
    """What a payload would become. Nothing is stored."""

    delivery: Annotated[str, Field(description="the id that makes a second try of the sender count once")]
    outcomes: list[Outcome]


def routes(postgres: Postgres, receiver: InboundReceiver) -> APIRouter:
    """Try a payload."""
    router = APIRouter(prefix="/v1/sources/{id}/hooks/{hook}/try", tags=["inbound webhooks"])

    @router.post("", summary="What a payload would become; stores nothing")
    async def attempt(id: UUID, hook: UUID, trial: Trial, _: Reader) -> TrialResult:
        async with postgres.database.connection() as connection:
            row = await store.one(connection, id, hook)
            source = await queries.source(connection, id)
        grant = Grant(
            id, source["name"], source["default_currency"], None, None, hook, private_fields=source["private_fields"]
        )
        mapping = receiver.compiled(row["mapping"])
        if trial.mapping is not None:
            mapping = CompiledMapping(chosen(trial.mapping))
        headers = {name.lower(): value for name, value in trial.headers.items()}
        delivery = delivered(str(hook), msgspec.json.encode(trial.payload), headers)
        outcomes = _outcomes(receiver, mapping.apply(delivery), grant)
        return TrialResult(delivery=mapping.delivery_id(delivery), outcomes=outcomes)

    return router


def _outcomes(receiver: InboundReceiver, mapped: list[Mapped], grant: Grant) -> list[Outcome]:
    built = receiver.built(mapped, grant, datetime.now(UTC))
    results, records = iter(built.results), iter(built.records)
    outcomes = []
    for each in mapped:
        if each.event is None:
            outcomes.append(Outcome(entry=each.entry, status="skipped", reason=each.skipped, left_out=[], event=None))
            continue
        result = next(results)
        event: dict[str, Any] = each.event
        if result.status != "rejected":
            record = decode(next(records).value)
            event = {**msgspec.json.decode(record.data), "timestamp": record.time.isoformat()}
        outcomes.append(
            Outcome(entry=each.entry, status=result.status, reason=result.reason, left_out=each.left_out, event=event)
        )
    return outcomes
