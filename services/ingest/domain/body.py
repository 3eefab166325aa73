"""A body as JSON → the events in it, each still raw, so that a broken one is refused alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from libs.common.errors import Malformed
from services.ingest.domain.limits import DEPTH, EVENTS, has_odd_values, without_halves

_SALVAGED = 512 * 1024  # bytes; a larger broken body is refused as a whole, because cutting it takes time
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]|,', re.DOTALL)
_WRITE_KEY = re.compile(rb'"writeKey"\s*:\s*"([^"\\]{1,100})"')


@dataclass(slots=True)
class Envelope:
    """The events of a request, and what they share. `odd` says that something in the body may need to be tidied."""

    events: Sequence[bytes | msgspec.Raw]
    odd: bool
    writeKey: object = None
    sentAt: object = None
    context: bytes = b"null"


class _Single(msgspec.Struct, gc=False):
    writeKey: Any = None


class _Batch(msgspec.Struct, gc=False):
    batch: list[msgspec.Raw] | None = None
    writeKey: Any = None
    sentAt: Any = None
    context: msgspec.Raw = msgspec.Raw(b"null")


_single = msgspec.json.Decoder(_Single).decode
_batch = msgspec.json.Decoder(_Batch).decode


def single(body: bytes) -> Envelope:
    """The envelope of a body that is one event. Raises Malformed when it is no JSON object."""
    key: object
    try:
        key = _single(body).writeKey
    except RecursionError:
        found = _WRITE_KEY.search(body)
        key = found and found[1].decode(errors="replace")
    except ValueError as error:
        if (mended := without_halves(body)) != body:
            return single(mended)
        raise malformed(error) from None
    return Envelope([body], has_odd_values(body), key)


def batch(body: bytes) -> Envelope:
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
        raise Malformed("a batch needs `batch`, an array of events")
    if len(events) > EVENTS:
        raise Malformed(f"the batch has {len(events):,} events, at most {EVENTS:,} are taken: send smaller ones")
    return Envelope(events, has_odd_values(body), said.writeKey, said.sentAt, bytes(said.context))


def malformed(error: Exception) -> Malformed:
    if isinstance(error, RecursionError):
        return Malformed(f"the body is nested deeper than {DEPTH} levels: flatten the properties")
    return Malformed(f"the body is not a JSON object that can be read: {error}")


def _salvaged(body: bytes, error: Exception) -> tuple[_Batch, list[bytes]]:
    cut = _cut(body) if len(body) <= _SALVAGED else None
    if cut is None:
        raise malformed(error)
    rest, events = cut
    try:
        return _batch(rest), events
    except (ValueError, RecursionError):
        raise malformed(error) from None


def _cut(body: bytes) -> tuple[bytes, list[bytes]] | None:
    """(the body with an empty batch, the texts between its commas), by brackets and strings alone; None if unbalanced."""
    depth, first, start, name = 0, -1, -1, None
    events: list[bytes] = []
    for token in _TOKEN.finditer(body):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                if depth == 2 and first < 0 and name and body[name.end() : token.start()].strip() == b":":
                    first = start = token.end()
            case b"]" | b"}":
                depth -= 1
                if depth == 1 and start >= 0:
                    events.append(body[start : token.start()])
                    rest = body[:first] + body[token.start() :]
                    return rest, [event for event in events if event.strip()]
            case b",":
                if depth == 2 and start >= 0:
                    events.append(body[start : token.start()])
                    start = token.end()
            case text if depth == 1:
                name = token if text == b'"batch"' else None
    return None
