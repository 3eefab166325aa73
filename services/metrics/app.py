"""Puts metrics together: settings → fold, scorer, routes."""

from fastapi import FastAPI

from libs.common.fold.erasures import Erasures
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.service import ConsumerService
from libs.common.http.dead_letters import dead_letter_routes
from libs.common.http.exports import export_routes
from libs.common.log.maintenance import LogMaintenance
from libs.common.service import assemble
from services.metrics.api import fits, kpis, scores
from services.metrics.decider import MetricsDecider
from services.metrics.personal import personal
from services.metrics.scorer import Scorer
from services.metrics.settings import Settings


def create(settings: Settings) -> FastAPI:
    """The service."""
    handler = DeciderHandler("metrics", MetricsDecider(settings), personal(settings.partitions))
    part = ConsumerService("metrics", settings, handler)
    scorer = Scorer(part, handler)
    routers = [
        fits.routes(part, scorer, settings),
        scores.routes(part, handler),
        kpis.routes(part, settings),
        dead_letter_routes(part),
        export_routes(part, handler.personal),
    ]
    return assemble(
        "metrics",
        "Which customers may leave, what customers are worth, and the key figures of the shop.",
        settings,
        [part, LogMaintenance("metrics", part), scorer, Erasures(part)],
        routers,
        meter=part.meter,
        browsers=True,
    )
