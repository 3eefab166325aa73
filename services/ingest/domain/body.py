"""A body as JSON → the events in it, each still raw, so that a broken one is refused alone."""

import re
from typing import Any

import msgspec

from libs.common.errors import Malformed
from services.ingest.domain.limits import DEPTH, EVENTS, without_halves

_SALVAGED = 512 * 1024  # bytes; a larger broken body is refused as a whole, because cutting it takes time
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{]|[\]}]|,', re.DOTALL)
_WRITE_KEY = re.compile(rb'"writeKey"\s*:\s*"([^"\\]{1,100})"')


class Envelope(msgspec.Struct):
    """What the events of one request share; for a single event, the event itself seen as its own envelope."""

    batch: Any = None
    writeKey: Any = None
    sentAt: Any = None
    context: msgspec.Raw = msgspec.Raw(b"null")
    events: list[msgspec.Raw | bytes] = []


class _Batch(Envelope):
    batch: list[msgspec.Raw] | None = None


_single = msgspec.json.Decoder(Envelope).decode
_batch = msgspec.json.Decoder(_Batch).decode


def single(body: bytes) -> Envelope:
    """The envelope of a body that is one event. Raises Malformed when it is no JSON object."""
    try:
        envelope = _single(body)
    except RecursionError:
        key = _WRITE_KEY.search(body)
        envelope = Envelope(writeKey=key and key[1].decode(errors="replace"))
    except ValueError as error:
        if (mended := without_halves(body)) != body:
            return single(mended)
        raise malformed(error) from None
    envelope.sentAt, envelope.context, envelope.events = None, msgspec.Raw(b"null"), [body]
    return envelope


def batch(body: bytes) -> Envelope:
    """The envelope of a batch. A batch that is broken inside one event is cut into its events all the same; where a text
    was cut inside an emoji, the half that is left is replaced.

    Raises Malformed when it cannot be, when it has no array `batch`, or one of over 2,500 events.
    """
    try:
        envelope: Envelope = _batch(body)
        envelope.events = envelope.batch or []
    except (ValueError, RecursionError) as error:
        if (mended := without_halves(body)) != body:
            return batch(mended)
        envelope = _salvaged(body, error)
    if envelope.batch is None:
        raise Malformed("a batch needs `batch`, an array of events")
    if len(envelope.events) > EVENTS:
        raise Malformed(
            f"the batch has {len(envelope.events):,} events, at most {EVENTS:,} are taken: send smaller ones"
        )
    return envelope


def malformed(error: Exception) -> Malformed:
    if isinstance(error, RecursionError):
        return Malformed(f"the body is nested deeper than {DEPTH} levels: flatten the properties")
    return Malformed(f"the body is not a JSON object that can be read: {error}")


def _salvaged(body: bytes, error: Exception) -> Envelope:
    cut = _cut(body) if len(body) <= _SALVAGED else None
    if cut is None:
        raise malformed(error)
    rest, events = cut
    try:
        envelope: Envelope = _batch(rest)
    except (ValueError, RecursionError):
        raise malformed(error) from None
    envelope.events = [*events]
    return envelope


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
