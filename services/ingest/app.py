"""Ingest, put together: settings → database, log, group commit, receiver, routes."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from libs.common.log.maintenance import LogMaintenance
from libs.common.observability.telemetry import Meter
from libs.common.runtime.component import Component
from libs.common.service import assemble
from services.ingest import log
from services.ingest.api import (
    blocked_ids,
    cloudevents,
    events,
    export,
    live,
    posthog,
    rejected,
    snippet,
    sources,
    warnings,
)
from services.ingest.api import settings as sdk_settings
from services.ingest.api.raw import raw_routes
from services.ingest.blocked_ids import BlockedIds
from services.ingest.body_reader import Memory
from services.ingest.commit import GroupCommit
from services.ingest.entry_rules import RulesInForce
from services.ingest.erasures import Erasures
from services.ingest.inbound import api as inbound
from services.ingest.inbound import trial
from services.ingest.inbound.receiver import InboundReceiver
from services.ingest.live.stream import LiveStream
from services.ingest.live.writer import LiveWriter
from services.ingest.metrics import Metrics
from services.ingest.plan import api as tracking_plan
from services.ingest.plan.in_force import PlansInForce
from services.ingest.plan.violations import ViolationCounts
from services.ingest.receiver import Receiver
from services.ingest.rejections import Rejections
from services.ingest.replays import Replays
from services.ingest.results import Results
from services.ingest.settings import Settings
from services.ingest.shared_ids import SharedIds
from services.ingest.usage import api as usage_api
from services.ingest.usage.meter import UsageMeter
from services.ingest.warning_counts import WarningCounts
from services.ingest.write_keys import KeyStore, WriteKeys

#: Where people and programs write, beside events.
_WRITTEN = ("/v1/sources", "/v1/blocked-ids", "/v1/tracking-plan", "/v1/rejected")


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
    warned, watched, blocked = WarningCounts(postgres), LiveWriter(postgres), BlockedIds(postgres)
    shared, plans, violations = SharedIds(warned), PlansInForce(postgres), ViolationCounts(postgres)
    commit = GroupCommit(storing, settings.queue_limit, settings.append_deadline)
    imports = GroupCommit(
        log.ImportedLog(storing), settings.queue_limit, settings.append_deadline, "group commit of imports"
    )
    memory, metrics = Memory(settings.memory_limit), Metrics(meter.registry)
    metrics.watch(lambda: commit.waiting() + imports.waiting(), settings.queue_limit, lambda: memory.held, memory.limit)
    usage = UsageMeter(postgres, settings.zone)
    results = Results(rejections, warned, violations, watched, shared, usage, metrics)
    hash_key = settings.hash_key.get_secret_value()
    rules = RulesInForce(blocked, plans, hash_key)
    receiver = Receiver(keys, commit, rules, results, memory)
    importer = Receiver(keys, imports, rules, results, memory, imported=True)
    webhooks = InboundReceiver(postgres, commit, rules, results, memory)
    erasures = Erasures(postgres, storing)
    hot = [events.routes(receiver, importer), posthog.routes(receiver), cloudevents.routes(receiver)]
    return assemble(
        "ingest",
        "Receives customers' events from Segment's SDKs. An event answered with 200 is in the log.",
        settings,
        [
            *parts,
            plans,
            keys,
            rejections,
            warned,
            violations,
            watched,
            blocked,
            shared,
            usage,
            commit,
            imports,
            erasures,
        ],
        [
            *hot,
            sdk_settings.routes(keys, settings.public_url),
            snippet.routes(),
            sources.routes(postgres, keys, bool(hash_key)),
            live.routes(postgres, LiveStream(postgres, watched)),
            rejected.routes(postgres, Replays(postgres, commit, imports, rules, results)),
            warnings.routes(postgres),
            blocked_ids.routes(postgres, blocked),
            tracking_plan.routes(postgres, plans, storing),
            usage_api.routes(postgres),
            inbound.routes(postgres),
            trial.routes(postgres, webhooks),
            inbound.posted(webhooks),
            export.routes(postgres),
        ],
        meter=meter,
        body_limits={"/v1/": None, **dict.fromkeys((*_WRITTEN, "/v1/ingest/"), settings.body_limit)},
        problem_members=for_sdks,
        fast_routes=raw_routes(*hot),
        inline=events.inline(receiver, importer),
    )


def for_sdks(problem: Mapping[str, Any]) -> dict[str, Any]:
    """What SDKs read of an error: RudderStack's `code` and `message`, PostHog's `detail` (which every problem has)."""
    return {"success": False, "code": problem["type"].rpartition(":")[2], "message": problem["detail"]}
