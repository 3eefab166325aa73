"""Triggers, put together: settings → fold, delivery, routes."""

from fastapi import FastAPI

from libs.common.fold.part import FoldPart
from libs.common.fold.routes import dead_letter_routes
from libs.common.service import assemble
from services.triggers.api import customers, hooks, summary, why
from services.triggers.decider import TriggersHandler
from services.triggers.delivery.addresses import Addresses
from services.triggers.delivery.workers import Delivery
from services.triggers.settings import Settings


def create(settings: Settings) -> FastAPI:
    """The service."""
    handler = TriggersHandler(settings.partitions, settings.zone)
    part = FoldPart("triggers", settings, handler)
    addresses = Addresses(settings.webhook_allow)
    delivery = Delivery(part, handler, addresses, settings)
    routers = [hooks.routes(part, addresses), why.routes(part, handler), customers.routes(part, handler),
               summary.routes(part, settings), dead_letter_routes(part)]  # fmt: skip
    return assemble("triggers", "Rapport triggers", settings, [part, delivery], routers, meter=part.meter)
