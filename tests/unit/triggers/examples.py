"""Hooks, events and rules for the tests of the domain."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from libs.common.contracts.input import Input
from libs.common.rules.rule_event import RuleEvent
from services.triggers.domain.hook import Hook
from services.triggers.domain.rules import CompiledHook, Rules, compiled

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def hook(id: str = "h1", version: int = 1, **changes: Any) -> CompiledHook:
    given = {
        "name": id,
        "trigger": {"event": "Order Completed"},
        "action": {"channel": "inbox", "text": "Thank you"},
        **changes,
    }
    return compiled(id, version, Hook.model_validate(given))


def rules(*hooks: CompiledHook, daily_cap: int | None = None, zone: str = "UTC") -> Rules:
    made = Rules(ZoneInfo(zone), daily_cap)
    for each in hooks:
        made.by_id[each.id] = each
        made.by_event.setdefault(each.hook.trigger.event, []).append(each)
    return made


def ordered(
    time: datetime = NOON,
    *,
    id: str = "r1",
    late: timedelta = timedelta(0),
    properties: dict[str, Any] | None = None,
    traits: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    consent: dict[str, bool] | None = None,
) -> Input:
    """An `Order Completed` of a customer who consents to marketing, unless `consent` says otherwise."""
    allowed = {"marketing": True} if consent is None else consent
    customer = {"id": "c1", "traits": traits or {}, "consent": allowed}
    data = {"properties": properties or {}, "context": context or {}, "customer": customer}
    body = RuleEvent("Order Completed", "track", msgspec.Raw(msgspec.json.encode(data)))
    return Input(id, "track.v1", "/apps/test", time, time + late, 0, False, None, body)
