"""What triggers reads from the environment, beside what every service reads."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from libs.common import settings

Network: TypeAlias = IPv4Network | IPv6Network


def _networks(given: object) -> object:
    if isinstance(given, str):
        return tuple(ip_network(part.strip()) for part in given.split(",") if part.strip())
    return given


class Settings(settings.Settings):
    """`RAPPORT_TRIGGERS_…` wins over `RAPPORT_…`."""

    webhook_allow: Annotated[Sequence[Network], NoDecode, BeforeValidator(_networks)] = Field(
        default=(),
        description="networks, comma separated (10.0.0.0/8,::1/128), that webhooks may reach though they are not public",
    )
    webhook_seconds: float = Field(default=15.0, gt=0, le=60, description="in which a webhook must be answered")
    webhook_concurrency: int = Field(
        default=4, ge=1, le=100, description="webhooks under way at once to one endpoint, from this process"
    )
    keep_message_days: float = Field(
        default=90, ge=0, description="days that a message stays once it was sent, withheld or given up; 0: for ever"
    )
    inbox_streams: int = Field(default=256, ge=1, description="how many may follow an inbox at a time, in this process")
