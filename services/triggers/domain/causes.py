"""What triggers reads from the journal: anything that has a name; and the commands and delivery outcomes."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from libs.common.contracts.records import Envelope
from libs.common.contracts.triggers import Channel
from libs.common.fold.decider import Cause
from libs.common.rules import rule_event
from services.triggers.domain.quiet import Quiet


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered message; or, in `missing` or `error`, why it could not be."""

    title: str | None = None
    text: str | None = None
    missing: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a hook made of a record, beside the fact: where it goes, its text, the quiet hours that it is held to, and their
    end if it was decided in them; or why it is withheld."""

    endpoint: str
    title: str | None = None
    text: str | None = None
    detail: str | None = None
    quiet: Quiet | None = None
    not_before: datetime | None = None


@dataclass(slots=True)
class Happened(rule_event.Happened):
    """What happened, and by hook what was rendered and decided on it, so that the rows that are written show just that."""

    texts: dict[str, Text] = field(default_factory=dict, repr=False, compare=False)
    made: dict[str, Made] = field(default_factory=dict, repr=False, compare=False)

    def zone(self, cause: Cause, workspace: ZoneInfo) -> ZoneInfo:
        """The customer's time zone: their trait `timezone`, else the device's, else the workspace's."""
        event, customer = self.variables(cause)
        for name in (customer["traits"].get("timezone"), event["context"].get("timezone")):
            if isinstance(name, str) and name:
                try:
                    return ZoneInfo(name)
                except (ValueError, OSError, KeyError):  # none of the known zones, or a path that is none
                    continue
        return workspace


class Stop(msgspec.Struct, frozen=True):
    """The customer wants no messages any more."""

    by: str


class Resume(msgspec.Struct, frozen=True):
    """The customer wants messages again."""

    by: str


class See(msgspec.Struct, frozen=True):
    """The customer opened a message in their inbox."""

    message: str
    hook: str


class Settled(msgspec.Struct, frozen=True):
    """What became of a queued message. `reason` says why it was withheld or failed."""

    message: str
    hook: str
    version: int
    channel: Channel
    state: Literal["sent", "failed", "withheld"]
    reason: str = ""


def read(envelope: Envelope) -> Happened | None:
    """What a record means here; None for what concerns no rule."""
    happened = rule_event.read(envelope)
    return None if happened is None else Happened(happened.name, happened.kind, happened.data)
