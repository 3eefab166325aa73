"""The receiver, with limits of write keys and counts of what came by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from libs.common.contracts.events import Kind
from services.ingest.body_reader import Memory, Share
from services.ingest.build_records import BuiltRecords
from services.ingest.commit import GroupCommit
from services.ingest.domain.body import Payload
from services.ingest.metrics import Metrics
from services.ingest.queries import Grant
from services.ingest.receiver import Receiver
from services.ingest.rejections import Rejections
from services.ingest.usage.meter import UsageMeter
from services.ingest.write_keys import WriteKeys


@dataclass
class CountedRecords(BuiltRecords):
    """Records that are to be counted under a write key once they are stored."""

    grant: Grant | None = None


class MeteredReceiver(Receiver):
    """A receiver whose write keys may have limits. A request over one is answered 429, and nothing of it is stored."""

    def __init__(
        self,
        keys: WriteKeys,
        commit: GroupCommit,
        rejections: Rejections,
        memory: Memory,
        metrics: Metrics,
        meter: UsageMeter,
    ) -> None:
        super().__init__(keys, commit, rejections, memory, metrics)
        self._meter = meter

    def _build(
        self,
        headers: Mapping[bytes, bytes],
        payload: Payload,
        kind: Kind | None,
        grant: Grant,
        received_at: datetime,
        traceparent: str | None,
        share: Share,
    ) -> BuiltRecords:
        self._meter.admit(grant, len(payload.events))
        built = super()._build(headers, payload, kind, grant, received_at, traceparent, share)
        return CountedRecords(built.records, built.results, built.refused, grant)

    def _answered(self, built: BuiltRecords) -> bytes:
        if isinstance(built, CountedRecords) and built.grant is not None:
            self._meter.count(built.grant, built)
        return super()._answered(built)
