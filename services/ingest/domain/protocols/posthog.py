"""PostHog's bodies → payloads. A body is one event, an array of them, or `{"api_key": …, "batch": […]}`; browsers also send
it as a form, in base64."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

import msgspec

from libs.common.errors import Malformed
from services.ingest.domain import body as bodies
from services.ingest.domain import broken_json
from services.ingest.domain.body import Payload, Sent, Unreadable
from services.ingest.domain.encodings import decoded
from services.ingest.domain.protocols.posthog_events import translated


class _Envelope(msgspec.Struct):
    api_key: Any = None
    token: Any = None
    sent_at: Any = None
    sentAt: Any = None
    batch: msgspec.Raw | None = None


class _First(msgspec.Struct):
    api_key: Any = None
    token: Any = None
    properties: Any = None


_envelope = msgspec.json.Decoder(_Envelope).decode
_first = msgspec.json.Decoder(_First).decode


def read(request: Sent) -> Payload:
    """The events of a request. Raises Malformed when the body as a whole cannot be read."""
    asked = parse_qs(request.query.decode("latin-1"))
    body = _out_of_form(request.body, asked)
    if bodies.is_array(body):
        envelope, sent = _Envelope(), bodies.array(body)
    else:
        envelope, is_batch = _opened(body)
        sent = bodies.batch(body) if is_batch else bodies.single(body)
    events: list[bytes | msgspec.Raw] = []
    unreadable: list[Unreadable] = []
    for event in sent.events:
        raw = bytes(event)
        try:
            events += translated(raw, request.received_at)
        except (ValueError, RecursionError) as error:
            place = len(events) + len(unreadable)
            unreadable.append(bodies.unreadable(place, raw, error, "uuid"))
    return Payload(events, sent.odd, _key(envelope, sent), _sent_at(envelope, asked), unreadable=unreadable)


def _out_of_form(body: bytes, asked: Mapping[str, Sequence[str]]) -> bytes:
    """The JSON in a form's field `data`, where it stands as it is or in base64. Raises Malformed."""
    if not body.startswith(b"data="):
        return body
    form = parse_qs(body.decode("latin-1"), max_num_fields=10)
    how = next(iter(form.get("compression", asked.get("compression", ()))), "base64")
    data = "".join(form.get("data", ()))
    if data[:1] in ("{", "["):
        return data.encode("latin-1")
    if how not in ("base64", "gzip-js"):
        raise Malformed(f"the compression {how[:20]} is not taken: send gzip-js, base64, or none")
    try:
        return decoded(base64.b64decode(data.replace(" ", "+"), validate=True))
    except binascii.Error as error:
        raise Malformed(f"the form's `data` is not base64: {error}") from None


def _opened(body: bytes) -> tuple[_Envelope, bool]:
    """What stands beside the events, and whether there is a batch."""
    try:
        envelope = _envelope(body)
        return envelope, envelope.batch is not None
    except (ValueError, RecursionError):
        key, token, sent = (broken_json.text_of(body, name) for name in ("api_key", "token", "sent_at"))
        return _Envelope(api_key=key, token=token, sent_at=sent), any(
            name == b'"batch"' for name, _, _ in broken_json.members(body)
        )


def _key(envelope: _Envelope, sent: Payload) -> object:
    """The write key: the request's `api_key` or `token`, else that of its first event."""
    if found := envelope.api_key or envelope.token:
        return found
    try:
        first = _first(bytes(sent.events[0]))
    except (IndexError, ValueError, RecursionError):
        return None
    inside = first.properties.get("token") if isinstance(first.properties, dict) else None
    return first.api_key or first.token or inside


def _sent_at(envelope: _Envelope, asked: Mapping[str, Sequence[str]]) -> object:
    """When the client sent this by its own clock; browsers say so in the address, in milliseconds."""
    said = next(iter(asked.get("_", ())), "")
    return envelope.sent_at or envelope.sentAt or (int(said) if said.isdecimal() and len(said) < 16 else None)
