"""What a decider decides on: one record of the journal, one command or one timer."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import msgspec


class Resource(NamedTuple):
    """What customers share: a budget (kind) of a rule (id) in a month (period). A hot one is split: each partition of customers
    draws on a `part` of its own."""

    kind: str
    id: str
    period: str = ""
    part: int = 0


class Input(msgspec.Struct, frozen=True):
    """One record or command, as a decider sees it. `body` is what the service read from its data.

    `time` is when it happened (business rules use it), `received` when we got it, `own` whether this very service
    decided it: then its effect on the state was applied when it was decided, and only rules are evaluated on it.
    `partition` is the customer's, `shared` what they draw on with others. `imported` says that it comes from an import of
    history.
    """

    id: str
    type: str
    source: str
    time: datetime
    received: datetime
    depth: int
    own: bool
    traceparent: str | None
    body: Any
    partition: int = 0
    shared: Mapping[Resource, int] = {}
    imported: bool = False


def command_input(
    source: str, type: str, id: str, at: datetime, body: object, traceparent: str | None, partition: int
) -> Input:
    """The input of a command (a REST call or timer that changes a customer), as of `at`."""
    return Input(id, type, source, at, at, 0, False, traceparent, body, partition)
