"""Profile: one view of each customer, from everything that client apps send."""

from functools import cache

from fastapi import FastAPI

from libs.common.fold.service import ConsumerService
from libs.common.fold.watermark import WatermarkWriter
from libs.common.http.dead_letters import dead_letter_routes
from libs.common.log.keyed_hash import KeyedHash
from libs.common.log.maintenance import LogMaintenance
from libs.common.service import assemble
from services.profile.api.care import care_routes
from services.profile.api.consents import confirmation_routes, consent_routes
from services.profile.api.customers import customer_routes
from services.profile.api.export import export_routes
from services.profile.api.refunds import refund_routes
from services.profile.api.tasks import task_routes
from services.profile.api.timelines import timeline_routes
from services.profile.api.workspace import workspace_routes
from services.profile.commands import Commands
from services.profile.computed import api as computed
from services.profile.confirmations import Confirmations
from services.profile.dedup_partitions import Housekeeping
from services.profile.due_tasks import DueTasks
from services.profile.erasure import api as erasure
from services.profile.erasure.task import ErasureTask
from services.profile.handler import Profile
from services.profile.merges.api import merge_routes
from services.profile.merges.commands import MergeCommands
from services.profile.segments import api as segments
from services.profile.segments import members_api
from services.profile.segments.tasks import SegmentTasks
from services.profile.settings import Settings
from services.profile.timeline_stream import TimelineStreams


def create(settings: Settings) -> FastAPI:
    """Build the service."""
    handler = Profile(settings.zone, settings.partitions, cache(lambda: KeyedHash(settings)))
    part = ConsumerService("profile", settings, handler)
    handler.measure(part.meter.registry)
    confirmations = Confirmations.of(settings.consent_secret.get_secret_value())
    commands = Commands(part, handler.rulebooks)
    streams = TimelineStreams(part, settings)
    routers = [
        customer_routes(part, handler.rulebooks),
        timeline_routes(part, streams),
        consent_routes(part, commands, confirmations),
        confirmation_routes(commands, confirmations),
        care_routes(part, commands, handler.rulebooks),
        task_routes(part, commands),
        refund_routes(part),
        merge_routes(part, MergeCommands(part, handler.rulebooks)),
        segments.routes(part),
        members_api.routes(part, handler.rulebooks),
        computed.routes(part),
        workspace_routes(part),
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
            streams,
            DueTasks(part, commands),
            ErasureTask(part),
        ],
        routers,
        meter=part.meter,
        body_limits={members_api.PATH: None},
        browsers=True,
    )
