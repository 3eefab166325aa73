"""The settings of triggers, beside those of every service."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, TypeAlias

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
        description="networks that webhooks may reach although they are not public, comma separated (10.0.0.0/8,::1/128)",
    )
    webhook_seconds: float = Field(default=15.0, gt=0, le=60, description="seconds in which a webhook must be answered")
    webhook_concurrency: int = Field(
        default=4, ge=1, le=100, description="concurrent webhooks of a process to one endpoint"
    )
    keep_message_days: float = Field(
        default=90, ge=0, description="days that a message stays after it was sent, withheld or given up; 0: always"
    )
    without_consent: Literal["withhold", "send"] = Field(
        default="withhold",
        description="what becomes of a message to a customer who has said nothing of its purpose: withhold or send",
    )
    inbox_streams: int = Field(default=256, ge=1, description="open inbox streams of a process")
