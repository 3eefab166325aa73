"""What profile declares: the journal, and the facts of a merge."""

from typing import ClassVar, Literal

from libs.common.contracts.contract import Contract, Topic
from libs.common.contracts.records import Fact

JOURNAL = "profile.journal"
#: The compacted topic of watermarks (Kafka only, see `fold/watermark.py`): it holds no records, and only its newest message counts.
WATERMARK = "profile.watermark"
Scope = Literal["customers:read"]


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


CONTRACT = Contract(
    Topic(
        JOURNAL,
        "profile",
        "customer id",
        "what a customer did, with the customer as they were",
        ("rewards", "triggers", "metrics"),
        ("rewards",),
    ),
    (CustomerLeft, CustomerMerged),
    {"customers:read": ("marketer", "analyst", "operator")},
)
