"""Ingest, put together: settings → database, log, group commit, receiver, routes."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from libs.common.log.maintenance import LogMaintenance
from libs.common.observability.telemetry import Meter
from libs.common.runtime.component import Component
from libs.common.service import assemble
from services.ingest import log
from services.ingest.api import events, export, rejected, sources
from services.ingest.api import settings as sdk_settings
from services.ingest.api.raw import raw_routes
from services.ingest.body_reader import Memory
from services.ingest.commit import GroupCommit
from services.ingest.erasures import Erasures
from services.ingest.metrics import Metrics
from services.ingest.receiver import Receiver
from services.ingest.rejections import Rejections
from services.ingest.settings import Settings
from services.ingest.write_keys import KeyStore, WriteKeys


def create(settings: Settings) -> FastAPI:
    """The service."""
    meter = Meter("ingest")
    postgres = KeyStore(settings, "ingest", meter)
    parts: list[Component] = [postgres]
    storing = log.PostgresLog(postgres) if settings.log == "postgres" else log.KafkaLog(settings, postgres)
    parts.append(storing)
    if settings.log == "postgres":
        parts.append(LogMaintenance("ingest", postgres))
    keys = WriteKeys(postgres)
    rejections = Rejections(postgres, settings.rejected_per_minute)
    commit = GroupCommit(storing, settings.queue_limit, settings.append_deadline)
    memory, metrics = Memory(settings.memory_limit), Metrics(meter.registry)
    metrics.watch(commit.waiting, settings.queue_limit, lambda: memory.held, memory.limit)
    erasures = Erasures(postgres, storing)
    receiver = Receiver(keys, commit, rejections, memory, metrics)
    hot = events.routes(receiver)
    return assemble(
        "ingest",
        "Receives customers' events from Segment's SDKs. An event answered with 200 is in the log.",
        settings,
        [*parts, keys, rejections, commit, erasures],
        [
            hot,
            sdk_settings.routes(keys),
            sources.routes(postgres, keys),
            rejected.routes(postgres),
            export.routes(postgres),
        ],
        meter=meter,
        body_limits={"/v1/": None, "/v1/sources": settings.body_limit, "/v1/ingest/": settings.body_limit},
        problem_members=for_sdks,
        fast_routes=raw_routes(hot),
        inline=events.inline(receiver),
    )


def for_sdks(problem: Mapping[str, Any]) -> dict[str, Any]:
    """What SDKs read of an error: RudderStack's `code` and `message`, PostHog's `detail` (which every problem has)."""
    return {"success": False, "code": problem["type"].rpartition(":")[2], "message": problem["detail"]}
