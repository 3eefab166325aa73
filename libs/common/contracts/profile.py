"""What profile declares: the journal, the facts of a merge, of segments and of an erasure."""

from datetime import datetime
from typing import ClassVar, Literal

from libs.common.contracts.contract import Contract, Topic
from libs.common.contracts.records import Fact

JOURNAL = "profile.journal"
#: The compacted topic of erasures that ingest has to answer (Kafka only, see `log/erasures.py`).
ERASURES = "profile.erasures"
#: The compacted topic of watermarks (Kafka only, see `fold/watermark.py`): it holds no records, and only its newest message counts.
WATERMARK = "profile.watermark"
Scope = Literal["customers:read", "customers:export", "customers:erase", "segments:read", "segments:write"]


class CustomerLeft(Fact, frozen=True, kw_only=True):
    """On the key of the customer who leaves: their state is complete from here, and moves `into` another customer."""

    TYPE: ClassVar[str] = "customer.left.v1"
    into: str


class CustomerMerged(Fact, frozen=True, kw_only=True):
    """On the key of the customer who stays: absorb the state of `other`, once `other` has left."""

    TYPE: ClassVar[str] = "customer.merged.v1"
    other: str

    @property
    def effect(self) -> str:
        return self.other


class SegmentEntered(Fact, frozen=True, kw_only=True):
    """The customer meets the condition of a live segment. `backfill`: they did so when this version was published."""

    TYPE: ClassVar[str] = "segment.entered.v1"
    segment: str
    version: int
    because: str
    backfill: bool = False

    @property
    def effect(self) -> str:
        return self.segment


class SegmentExited(Fact, frozen=True, kw_only=True):
    """The customer does not meet the condition of the segment any more, or it was archived."""

    TYPE: ClassVar[str] = "segment.exited.v1"
    segment: str
    version: int
    because: str
    backfill: bool = False

    @property
    def effect(self) -> str:
        return self.segment


class CustomerErased(Fact, frozen=True, kw_only=True):
    """The last record on this key: forget the customer, and all who were merged into them (`also`)."""

    TYPE: ClassVar[str] = "customer.erased.v1"
    erasure: str
    also: list[str]

    @property
    def effect(self) -> str:
        return self.erasure


class ErasureAnswered(Fact, frozen=True, kw_only=True):
    """A service has erased what it held: how many of what. Each service writes it in its own topic, on the erasure's id; profile
    collects it, and does not journal it. `kafka_until`: until when Kafka may have copies of the service's records."""

    TYPE: ClassVar[str] = "erasure.answered.v1"
    erasure: str
    service: str
    erased: dict[str, int]
    kafka_until: datetime | None = None

    @property
    def effect(self) -> str:
        return f"{self.service}/{self.erasure}"


class Redacted(Fact, frozen=True, kw_only=True):
    """What an erasure leaves of a record: its place. Every reader skips it."""

    TYPE: ClassVar[str] = "redacted.v1"
    erasure: str


CONTRACT = Contract(
    Topic(
        JOURNAL,
        "profile",
        "customer id",
        "what a customer did, with the customer as they were",
        ("rewards", "triggers", "metrics"),
        ("rewards",),
    ),
    (CustomerLeft, CustomerMerged, SegmentEntered, SegmentExited, CustomerErased, ErasureAnswered, Redacted),
    {
        "customers:read": ("marketer", "analyst", "operator"),
        "customers:export": ("operator",),
        "customers:erase": ("operator",),
        "segments:read": ("marketer", "analyst", "operator"),
        "segments:write": ("marketer",),
    },
)
