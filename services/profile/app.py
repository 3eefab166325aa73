"""Profile: one view of each customer, from everything that client apps send."""

from functools import cache

from fastapi import FastAPI

from libs.common.fold.service import ConsumerService
from libs.common.fold.watermark import WatermarkWriter
from libs.common.http.dead_letters import dead_letter_routes
from libs.common.log.keyed_hash import KeyedHash
from libs.common.log.maintenance import LogMaintenance
from libs.common.service import assemble
from services.profile.api.customers import customer_routes
from services.profile.api.export import export_routes
from services.profile.api.refunds import refund_routes
from services.profile.dedup_partitions import Housekeeping
from services.profile.erasure import api as erasure
from services.profile.erasure.task import ErasureTask
from services.profile.handler import Profile
from services.profile.segments import api as segments
from services.profile.segments import members_api
from services.profile.segments.tasks import SegmentTasks
from services.profile.settings import Settings


def create(settings: Settings) -> FastAPI:
    """Build the service."""
    handler = Profile(settings.zone, settings.partitions, cache(lambda: KeyedHash(settings)))
    part = ConsumerService("profile", settings, handler)
    handler.measure(part.meter.registry)
    routers = [
        customer_routes(part),
        refund_routes(part),
        segments.routes(part),
        members_api.routes(part),
        export_routes(part, settings),
        erasure.routes(part),
        dead_letter_routes(part),
    ]
    return assemble(
        "profile",
        "One view of each customer: whose each event is, and how they were at that moment.",
        settings,
        [
            part,
            LogMaintenance("profile", part),
            WatermarkWriter(part),
            Housekeeping(part),
            SegmentTasks(part, handler.rulebooks),
            ErasureTask(part),
        ],
        routers,
        meter=part.meter,
        body_limits={members_api.PATH: None},
    )
