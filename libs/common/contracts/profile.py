"""What profile declares: the journal, its facts on customers, and who may read and change them."""

from datetime import datetime
from typing import ClassVar, Literal

from libs.common.contracts.consent import Status
from libs.common.contracts.contract import Contract, Topic
from libs.common.contracts.records import Fact

JOURNAL = "profile.journal"
#: The compacted topic of erasures that ingest has to answer (Kafka only, see `log/erasures.py`).
ERASURES = "profile.erasures"
#: The compacted topic of watermarks (Kafka only, see `fold/watermark.py`): it holds no records, and only its newest message counts.
WATERMARK = "profile.watermark"
Scope = Literal[
    "customers:read",
    "customers:write",
    "customers:merge",
    "customers:export",
    "customers:erase",
    "segments:read",
    "segments:write",
]
OwnScope = Literal["own:consent"]
RelationshipKind = Literal["loyalty_based", "transactional", "need_based", "advisory"]


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


class ConsentChanged(Fact, frozen=True, kw_only=True):
    """What a customer allows for a purpose and channel (or all of them) has changed. `pending` allows nothing: it waits for
    the customer's confirmation. `source`, `text_version` and `by` prove it: where it was said, under which version of
    the text, and whose token said it."""

    TYPE: ClassVar[str] = "consent.changed.v1"
    purpose: str
    channel: str
    status: Status
    source: str
    text_version: str | None
    by: str | None

    @property
    def effect(self) -> str:
        return f"{self.purpose}.{self.channel}"


class NoteAdded(Fact, frozen=True, kw_only=True):
    """Somebody wrote a note on the customer. Its text stays in profile."""

    TYPE: ClassVar[str] = "note.added.v1"
    note: str
    by: str


class CustomerDeselected(Fact, frozen=True, kw_only=True):
    """The business no longer markets to the customer. Service messages go on."""

    TYPE: ClassVar[str] = "customer.deselected.v1"
    reason: str
    by: str


class CustomerReselected(Fact, frozen=True, kw_only=True):
    """The business markets to the customer again."""

    TYPE: ClassVar[str] = "customer.reselected.v1"
    reason: str
    by: str


class RelationshipSet(Fact, frozen=True, kw_only=True):
    """Somebody said what the relationship with the customer is based on; `kind` is None if it shall be derived again."""

    TYPE: ClassVar[str] = "relationship.set.v1"
    kind: RelationshipKind | None
    reason: str
    by: str


class TaskAdded(Fact, frozen=True, kw_only=True):
    """Somebody is to do something for the customer until it is `due`."""

    TYPE: ClassVar[str] = "task.added.v1"
    task: str
    title: str
    owner: str
    due: datetime
    by: str


class TaskDue(Fact, frozen=True, kw_only=True):
    """A task is due and not done. It comes once for each task."""

    TYPE: ClassVar[str] = "task.due.v1"
    task: str
    title: str
    owner: str
    due: datetime


class TaskDone(Fact, frozen=True, kw_only=True):
    """A task is done."""

    TYPE: ClassVar[str] = "task.done.v1"
    task: str
    title: str
    owner: str
    by: str


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
    (
        CustomerLeft,
        CustomerMerged,
        ConsentChanged,
        SegmentEntered,
        SegmentExited,
        NoteAdded,
        CustomerDeselected,
        CustomerReselected,
        RelationshipSet,
        TaskAdded,
        TaskDue,
        TaskDone,
        CustomerErased,
        ErasureAnswered,
        Redacted,
    ),
    {
        "customers:read": ("marketer", "analyst", "operator"),
        "customers:write": ("marketer", "operator"),
        "customers:merge": ("operator",),
        "customers:export": ("operator",),
        "customers:erase": ("operator",),
        "segments:read": ("marketer", "analyst", "operator"),
        "segments:write": ("marketer",),
    },
    ("own:consent",),
)
