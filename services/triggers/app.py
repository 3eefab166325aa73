"""Puts triggers together: settings → fold, delivery, routes."""

from datetime import UTC, datetime

from fastapi import FastAPI

from libs.common.fold.erasures import Erasures
from libs.common.fold.service import ConsumerService
from libs.common.http.dead_letters import dead_letter_routes
from libs.common.http.exports import export_routes
from libs.common.log.maintenance import LogMaintenance
from libs.common.service import assemble
from services.triggers.api import customers, explanations, hooks, streams, summary
from services.triggers.decider import TriggersHandler
from services.triggers.delivery.addresses import Addresses, Lookup, system
from services.triggers.delivery.workers import Delivery
from services.triggers.inbox import Inboxes
from services.triggers.message_expiry import MessageExpiry
from services.triggers.settings import Settings


def create(settings: Settings, lookup: Lookup = system) -> FastAPI:
    """The service. `lookup` resolves the hosts of webhooks."""
    handler = TriggersHandler(settings, lambda: datetime.now(UTC))
    part = ConsumerService("triggers", settings, handler)
    addresses = Addresses(settings.webhook_allow, lookup)
    delivery = Delivery(part, handler, addresses, settings)
    inboxes = Inboxes(part, settings)
    routers = [hooks.routes(part, addresses), explanations.routes(part, handler), customers.routes(part, handler),
               streams.routes(part, handler, inboxes), summary.routes(part, settings), dead_letter_routes(part),
               export_routes(part, handler.personal)]  # fmt: skip
    return assemble(
        "triggers",
        "Hooks send messages to a customer's inbox or to a webhook when an event meets a condition. Ask why, or why not.",
        settings,
        [part, LogMaintenance("triggers", part), MessageExpiry(part, settings), delivery, inboxes, Erasures(part)],
        routers,
        meter=part.meter,
        browsers=True,
    )
