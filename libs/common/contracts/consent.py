"""Consent as profile writes it and others read it: the names of purposes and channels, and what holds for a message."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

Status = Literal["granted", "denied", "pending"]

#: The purpose of messages that belong to a service (an order's confirmation). They need no consent, so that nobody can
#: grant or deny it.
SERVICE = "service"
#: The channel of a consent that holds for every channel.
ALL_CHANNELS = "all"
#: A purpose or channel. Capital letters are read as small ones.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_KEY = re.compile(r"([a-z0-9][a-z0-9_-]{0,63})(?:\.([a-z0-9][a-z0-9_-]{0,63}))?")


def key_of(purpose: str, channel: str) -> str:
    """The key of a purpose and channel: `marketing` for all channels, `marketing.email` for one."""
    return purpose if channel == ALL_CHANNELS else f"{purpose}.{channel}"


def parts_of(key: str) -> tuple[str, str]:
    """The purpose and channel of a key."""
    purpose, _, channel = key.partition(".")
    return purpose, channel or ALL_CHANNELS


@lru_cache(maxsize=1024)
def read_key(text: str) -> str | None:
    """The key that `text` means, as apps write it (`Marketing`, `marketing.email`, `Do Not Sell`): in small letters, with
    `_` for spaces. None if it is no key, or names the purpose that needs no consent."""
    match = _KEY.fullmatch("_".join(text.lower().split()))
    if match is None or match[1] == SERVICE:
        return None
    return key_of(match[1], match[2] or ALL_CHANNELS)


def allows(consent: Mapping[str, bool], purpose: str, channel: str) -> bool | None:
    """Whether a snapshot's `consent` allows a purpose on a channel; None if the customer has said nothing of it."""
    return consent.get(f"{purpose}.{channel}", consent.get(purpose))
