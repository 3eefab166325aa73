"""Finds userIds that come with many anonymousIds: they seem to identify a crowd, and merge it into one customer.

Looks at the first event of some requests, in the background: an id that everybody has is soon among them.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from libs.common.contracts import records
from libs.common.log.append import Outgoing
from libs.common.runtime.periodic import PeriodicTask
from services.ingest.warning_counts import WarningCounts

SAMPLE = 100  # requests looked at in a second
MANY = 20  # anonymousIds
WITHIN = timedelta(hours=1)
USERS = 10_000  # remembered; those not seen for longest are forgotten


class _Ids(msgspec.Struct):
    messageId: str
    event: str | None = None
    userId: str | None = None
    anonymousId: str | None = None


class _Sampled(NamedTuple):
    source: UUID
    at: datetime
    record: Outgoing


_ids = msgspec.json.Decoder(_Ids).decode


class Crowds:
    """Counts the devices of users. Bounded in memory, and forgetful: what it finds is a reason to look, no proof."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[UUID, str], tuple[datetime, set[int]]] = OrderedDict()

    def is_new(self, source: UUID, user: str, device: str, at: datetime) -> bool:
        """Whether this device makes the user one of a crowd; once an hour for each."""
        since, devices = self._seen.pop((source, user), (at, set()))
        if at - since > WITHIN:
            since, devices = at, set()
        before = len(devices)
        if before < MANY:
            devices.add(hash(device))
        self._seen[source, user] = since, devices
        if len(self._seen) > USERS:
            self._seen.popitem(last=False)
        return before < MANY <= len(devices)


class SharedIds(PeriodicTask):
    """Counts a warning for each userId that seems to be shared."""

    name = "shared ids"
    every = 1.0

    def __init__(self, warned: WarningCounts) -> None:
        super().__init__()
        self._warned = warned
        self._crowds = Crowds()
        self._sample: list[_Sampled] = []

    def look(self, source: UUID, received_at: datetime, record: Outgoing) -> None:
        """Perhaps look at a record later. Never waits."""
        if len(self._sample) < SAMPLE:
            self._sample.append(_Sampled(source, received_at, record))

    async def _run_once(self) -> None:
        sample, self._sample = self._sample, []
        for source, at, record in sample:
            ids = _ids(records.decode(record.value).data)
            if ids.userId and ids.anonymousId and self._crowds.is_new(source, ids.userId, ids.anonymousId, at):
                warning = (
                    f"userId {ids.userId[:40]!r} came with {MANY} anonymousIds within an hour, and all of them become one"
                    " customer: if it identifies nobody, block it (PUT /v1/blocked-ids)"
                )
                self._warned.count(source, at, warning, record.name, ids.messageId)
