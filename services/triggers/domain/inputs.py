"""The inputs of triggers beside rule events: its commands, and the outcomes of deliveries."""

from typing import Literal

import msgspec

from libs.common.contracts.triggers import Channel


class OptOut(msgspec.Struct, frozen=True):
    """The customer opts out of messages."""

    by: str


class OptIn(msgspec.Struct, frozen=True):
    """The customer opts in again."""

    by: str


class MarkSeen(msgspec.Struct, frozen=True):
    """The customer opened a message in their inbox."""

    message: str
    hook: str


class Settled(msgspec.Struct, frozen=True):
    """The outcome of a queued message. `reason` says why it was withheld or failed."""

    message: str
    hook: str
    version: int
    channel: Channel
    state: Literal["sent", "failed", "withheld"]
    reason: str = ""
