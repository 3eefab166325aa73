"""A body as JSON → the events in it, each still raw, so that a broken one is refused alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from libs.common.contracts.json_faults import fault, kind
from libs.common.errors import Malformed
from services.ingest.domain import broken_json
from services.ingest.domain.limits import DEPTH, EVENTS, has_odd_values, too_deep, without_halves


class Sent(NamedTuple):
    """A request as another protocol's reader gets it: its body without compression, and what stands beside it."""

    body: bytes
    headers: Mapping[bytes, bytes]
    query: bytes
    received_at: datetime


class Unreadable(NamedTuple):
    """An event that its own protocol forbids or that cannot be rewritten from it: its place in the request, and why."""

    place: int
    raw: bytes
    reason: str
    message_id: str | None


@dataclass(slots=True)
class Payload:
    """The events of a request, and what they share. `odd` says that something in the body may need to be tidied.

    `unreadable` are those of other protocols that did not become events, by their places.
    """

    events: Sequence[bytes | msgspec.Raw]
    odd: bool
    writeKey: object = None
    sentAt: object = None
    context: bytes = b"null"
    unreadable: Sequence[Unreadable] = ()


#: A protocol's reader. Raises Malformed when the body as a whole cannot be read.
Read = Callable[[Sent], Payload]


class _Single(msgspec.Struct, gc=False):
    writeKey: Any = None


class _Batch(msgspec.Struct, gc=False):
    batch: list[msgspec.Raw] | None = None
    writeKey: Any = None
    sentAt: Any = None
    context: msgspec.Raw = msgspec.Raw(b"null")


_SINGLE = "send one event as a JSON object; several go to /v1/batch"
_BATCHES = 'send {"batch": […]} with the events in an array'
_single = msgspec.json.Decoder(_Single).decode
_batch = msgspec.json.Decoder(_Batch).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def single(body: bytes) -> Payload:
    """The envelope of a body that is one event. Raises Malformed when it is no JSON object."""
    key: object
    try:
        key = _single(body).writeKey
    except RecursionError:
        key = broken_json.text_of(body, "writeKey")
    except ValueError as error:
        if (mended := without_halves(body)) != body:
            return single(mended)
        raise malformed(body, error, _SINGLE) from None
    return Payload([body], has_odd_values(body), key)


def batch(body: bytes) -> Payload:
    """The envelope of a batch. A batch that is broken inside one event is cut into its events all the same; where a text
    was cut inside an emoji, the half that is left is replaced.

    Raises Malformed when it cannot be, when it has no array `batch`, or one of over 2,500 events.
    """
    events: Sequence[bytes | msgspec.Raw] | None
    try:
        said = _batch(body)
        events = said.batch
    except (ValueError, RecursionError) as error:
        if (mended := without_halves(body)) != body:
            return batch(mended)
        said, events = _salvaged(body, error)
    if events is None:
        raise Malformed(f"the body has no `batch`: {_BATCHES}")
    return Payload(_few(events), has_odd_values(body), said.writeKey, said.sentAt, bytes(said.context))


def is_array(body: bytes) -> bool:
    """Whether the body can only be an array."""
    return body.lstrip()[:1] == b"["


def array(body: bytes) -> Payload:
    """The events of a body that is an array of them, as other protocols send it; else as `batch`."""
    events: Sequence[bytes | msgspec.Raw]
    try:
        events = _array(body)
    except (ValueError, RecursionError) as error:
        if (mended := without_halves(body)) != body:
            return array(mended)
        found = broken_json.parts(body, body.find(b"[") + 1, EVENTS)
        if found is None:
            raise malformed(body, error, "send an array of events") from None
        events = [body[event.start : event.end].strip() for event in found[0]]
    return Payload(_few(events), has_odd_values(body))


def unreadable(place: int, raw: bytes, error: Exception, id_member: str) -> Unreadable:
    """What is said of an event that a protocol's reader raised `error` on. `id_member` has its id, if anything has."""
    if isinstance(error, RecursionError):
        reason = str(too_deep())
    elif isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
        reason = f"the event cannot be read: {fault(raw, error)}"
    else:
        reason = str(error)
    return Unreadable(place, raw, reason, broken_json.text_of(raw, id_member))


def malformed(body: bytes, error: Exception, instead: str) -> Malformed:
    """The body cannot be read: why, and for JSON of another kind what to send `instead`."""
    if isinstance(error, msgspec.ValidationError) and body.strip():
        return Malformed(f"the body {kind(error)}: {instead}")
    if isinstance(error, RecursionError):
        return Malformed(f"the body is nested deeper than {DEPTH} levels: flatten the properties")
    return Malformed(f"the body cannot be read: {fault(body, error)}")


def _few(events: Sequence[bytes | msgspec.Raw]) -> Sequence[bytes | msgspec.Raw]:
    if len(events) > EVENTS:
        raise Malformed(f"the batch has more than {EVENTS:,} events: send smaller batches")
    return events


def _salvaged(body: bytes, error: Exception) -> tuple[_Batch, list[bytes]]:
    cut = _cut(body)
    if cut is None:
        raise malformed(body, error, _BATCHES)
    rest, events = cut
    try:
        return _batch(rest), events
    except (ValueError, RecursionError):
        raise malformed(body, error, _BATCHES) from None


def _cut(body: bytes) -> tuple[bytes, list[bytes]] | None:
    """The body with an empty batch, and the texts of its events; None when no batch can be found in it."""
    for name, start, _ in broken_json.members(body):
        if name == b'"batch"' and body[start : start + 1] == b"[":
            found = broken_json.parts(body, start + 1, EVENTS)
            if found is None:
                return None
            events, end = found
            return body[: start + 1] + body[end:], [body[event.start : event.end] for event in events]
    return None
