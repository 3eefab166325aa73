"""Rewards, put together: settings → fold, routes."""

from fastapi import FastAPI

from libs.common.fold.erasures import Erasures
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.fold.timers import Timers
from libs.common.http.dead_letters import dead_letter_routes
from libs.common.http.exports import export_routes
from libs.common.log.maintenance import LogMaintenance
from libs.common.service import assemble
from services.rewards import queries
from services.rewards.api import programmes, summary
from services.rewards.decider import RewardsDecider
from services.rewards.features import FEATURES
from services.rewards.inputs import Expire
from services.rewards.ledger.project import EXPIRY
from services.rewards.personal import personal
from services.rewards.settings import Settings
from services.rewards.wake_hints import WakeHintsRefresh


def create(settings: Settings) -> FastAPI:
    """The service."""
    handler = DeciderHandler(
        "rewards", RewardsDecider(settings.partitions, settings.zone), personal(settings.partitions, settings.zone)
    )
    part = ConsumerService("rewards", settings, handler)
    clock = Timers(part, handler, {EXPIRY: lambda due: Expire(due)})
    of_features = [router for each in FEATURES for router in each.api(part, handler, queries.live_section(each))]
    routers = [
        programmes.routes(part),
        *of_features,
        summary.routes(part),
        dead_letter_routes(part),
        export_routes(part, handler.personal),
    ]
    return assemble(
        "rewards",
        "Points, badges and levels by a programme of yours; every point in a double-entry ledger.",
        settings,
        [part, LogMaintenance("rewards", part), clock, WakeHintsRefresh(part), Erasures(part)],
        routers,
        meter=part.meter,
        browsers=True,
    )
