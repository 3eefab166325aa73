"""Profile: one view of each customer, from everything that client apps send."""

from fastapi import FastAPI

from libs.common.fold.service import ConsumerService
from libs.common.fold.watermark import WatermarkWriter
from libs.common.http.dead_letters import dead_letter_routes
from libs.common.log.maintenance import LogMaintenance
from libs.common.service import assemble
from services.profile.api.consents import confirmation_routes, consent_routes
from services.profile.api.customers import customer_routes
from services.profile.api.refunds import refund_routes
from services.profile.confirmations import Confirmations
from services.profile.dedup_partitions import Housekeeping
from services.profile.handler import Profile
from services.profile.settings import Settings


def create(settings: Settings) -> FastAPI:
    """Build the service."""
    handler = Profile(settings.zone)
    part = ConsumerService("profile", settings, handler)
    handler.measure(part.meter.registry)
    confirmations = Confirmations.of(settings.consent_secret.get_secret_value())
    routers = [
        customer_routes(part),
        consent_routes(part, confirmations),
        confirmation_routes(part, confirmations),
        refund_routes(part),
        dead_letter_routes(part),
    ]
    return assemble(
        "profile",
        "One view of each customer: whose each event is, and how they were at that moment.",
        settings,
        [part, LogMaintenance("profile", part), WatermarkWriter(part), Housekeeping(part)],
        routers,
        meter=part.meter,
        browsers=True,
    )
