"""What profile declares: the journal, and the facts of a merge."""

from typing import ClassVar, Literal

from libs.common.contracts.contract import Contract, Topic
from libs.common.contracts.records import Fact

JOURNAL = "profile.journal"
#: The compacted topic of watermarks (Kafka only, see `fold/watermark.py`): it holds no records, and only its newest message counts.
WATERMARK = "profile.watermark"
Scope = Literal["customers:read", "segments:read", "segments:write"]


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


CONTRACT = Contract(
    Topic(
        JOURNAL,
        "profile",
        "customer id",
        "what a customer did, with the customer as they were",
        ("rewards", "triggers", "metrics"),
        ("rewards",),
    ),
    (CustomerLeft, CustomerMerged, SegmentEntered, SegmentExited),
    {
        "customers:read": ("marketer", "analyst", "operator"),
        "segments:read": ("marketer", "analyst", "operator"),
        "segments:write": ("marketer",),
    },
)
