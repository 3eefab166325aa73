"""Records: CloudEvents 1.0 in structured JSON, with `data` as the last member.

An *event* is what a client said, a *fact* is what a service decided. Both are `Envelope`s around a typed `data`. Because
`data` is last, profile can splice a snapshot of the customer into a raw event without decoding it (`spliced`).

Attributes beside CloudEvents' own: `recordedtime` (CloudEvents extension: when we received or decided it), `traceparent`
(distributed tracing extension), `causationid` (the record that this fact follows from), `depth` (how many facts lie
between it and an event), `stamp` (where in the order of its customer a fact was decided) and `imported` (an event of an
import of history, or a fact that follows from one: it starts no message).
"""

from datetime import datetime
from functools import cache
from typing import Any, ClassVar

import msgspec

#: A record may be this many bytes, with either log.
LARGEST = 900_000


class Envelope(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A record as read. `data` stays raw: each service decodes only the fields that it reads."""

    specversion: str = ""
    id: str
    source: str
    type: str
    time: datetime
    recordedtime: datetime
    subject: str | None = None
    traceparent: str | None = None
    causationid: str | None = None
    depth: int = 0
    stamp: str | None = None
    imported: bool = False
    datacontenttype: str = ""
    data: msgspec.Raw


class _Written(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A record to be encoded: its members in their order."""

    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    recordedtime: datetime
    subject: str | None = None
    traceparent: str | None = None
    causationid: str | None = None
    depth: int = 0
    stamp: str | None = None
    imported: bool = False
    datacontenttype: str
    data: Any


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What a service decided: the typed `data` of a record. A subclass names its versioned `TYPE`."""

    TYPE: ClassVar[str]

    @property
    def effect(self) -> str:
        """What makes this fact different from the others of its type that follow from the same cause (a rule's id)."""
        return ""


class Binding(msgspec.Struct, frozen=True):
    """An identifier and since which `version` it leads to the customer; the higher version wins."""

    kind: str
    value: str
    version: int


#: How a journal record ends that binds identifiers: `bound` is the snapshot's last member, and left out when empty.
BOUND_END = b"}]}}}"


class Snapshot(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The customer as they were when the record was bound to them: `data.customer` of every journal record.

    `traits` are cut to 8 KB, the largest left out first (`traits_cut` names them). `revenue` is in major units by
    currency. `consent` says what they allow, by purpose (`marketing`) and, where they said so of one channel, by
    purpose and channel (`marketing.email`). `segments` are the live ones that they are in, by name. Points, level
    and bands are as profile last heard of them. They were acquired through `channel`, and are in `stage` of their
    journey. `deselected`: the business does not market to them. `bound`, the last member, are the identifiers that
    this very record led to the customer.
    """

    id: str
    traits: dict[str, Any] = {}
    traits_cut: list[str] = []
    orders: int = 0
    revenue: dict[str, float] = {}
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    segments: list[str] = []
    points: int = 0
    level: str | None = None
    risk_band: str | None = None
    value_band: str | None = None
    consent: dict[str, bool] = {}
    channel: str = "direct"
    stage: str = "visitor"
    deselected: bool = False
    bound: list[Binding] = []


class Journalled(msgspec.Struct):
    """The part of a journal record's `data` that every reader needs."""

    customer: Snapshot


class _BoundBy(msgspec.Struct):
    bound: list[Binding] = []


class Bound(msgspec.Struct):
    """Of a journal record's `data` only the identifiers that it led to its customer."""

    customer: _BoundBy


_envelope = msgspec.json.Decoder(Envelope)
_encoder = msgspec.json.Encoder(decimal_format="number")


def decode(value: bytes) -> Envelope:
    """The envelope of a record. Raises msgspec.DecodeError when it is none."""
    return _envelope.decode(value)


def encode(
    *,
    id: str,
    source: str,
    type: str,
    time: datetime,
    recordedtime: datetime,
    data: Any,
    subject: str | None = None,
    traceparent: str | None = None,
    causationid: str | None = None,
    depth: int = 0,
    stamp: str | None = None,
    imported: bool = False,
) -> bytes:
    """A record as bytes. `data` is a non-empty struct or mapping; decimals become JSON numbers."""
    return _encoder.encode(
        _Written(
            specversion="1.0",
            id=id,
            source=source,
            type=type,
            time=time,
            recordedtime=recordedtime,
            subject=subject,
            traceparent=traceparent,
            causationid=causationid,
            depth=depth,
            stamp=stamp,
            imported=imported,
            datacontenttype="application/json",
            data=data,
        )
    )


def spliced(event: bytes, snapshot: bytes) -> bytes:
    """The record with `"customer": snapshot` as the last member of its `data`, without decoding it."""
    return b'%b,"customer":%b}}' % (event[:-2], snapshot)


def as_imported(event: bytes) -> bytes:
    """The event, as `encode` wrote it, marked as part of an import of history, without decoding it."""
    return b'{"imported":true,%b' % event[1:]


@cache
def display_name(type: str) -> str:
    """What marketers call a fact's type: `points.credited.v1` is "Points Credited"."""
    return " ".join(word.capitalize() for word in type.rsplit(".v", 1)[0].replace(".", " ").split())
