"""Profile: one customer view of all that client apps say."""

from fastapi import FastAPI

from libs.common.fold.heard import Hearing
from libs.common.fold.service import ConsumerService
from libs.common.http.dead_letters import dead_letter_routes
from libs.common.log.keeping import LogKeeping
from libs.common.service import assemble
from services.profile.api.customers import customer_routes
from services.profile.handler import Profile
from services.profile.settings import Settings
from services.profile.weeks import Housekeeping


def create(settings: Settings) -> FastAPI:
    """The service, composed."""
    handler = Profile(settings.zone)
    part = ConsumerService("profile", settings, handler)
    handler.measure(part.meter.registry)
    routers = [customer_routes(part), dead_letter_routes(part)]
    return assemble(
        "profile",
        "One view of each customer: whose each event is, and how they were at that moment.",
        settings,
        [part, LogKeeping("profile", part), Hearing(part), Housekeeping(part)],
        routers,
        meter=part.meter,
    )
