"""CloudEvents 1.0 over HTTP → payloads: structured, batched and binary content mode.

`type` is the event's name, `id` with `source` the messageId, `subject` the customer, `data` the properties.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from services.ingest.domain import body as bodies
from services.ingest.domain.body import Payload, Sent, Unreadable
from services.ingest.domain.limits import MESSAGE_ID, Rejection, has_odd_values

_REQUIRED = ("specversion", "id", "source", "type")
_SAID = frozenset((*_REQUIRED, "subject", "time", "data", "data_base64", "datacontenttype", "anonymousid"))
_TRACE = frozenset(("traceparent", "tracestate"))
_PREFIX = b"ce-"

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value = msgspec.json.Decoder().decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode


def read(request: Sent) -> Payload:
    """The events of a request. Raises Malformed when the body as a whole cannot be read."""
    body, headers = request.body, request.headers
    if b"ce-specversion" in headers or b"ce-type" in headers:
        return _binary(body, headers)
    sent = bodies.array(body) if bodies.is_array(body) else bodies.single(body)
    events: list[bytes | msgspec.Raw] = []
    unreadable: list[Unreadable] = []
    for place, event in enumerate(sent.events):
        raw = bytes(event)
        try:
            members = _members(raw)
            attributes = {name: _value(value) for name, value in members.items() if name not in ("data", "data_base64")}
            events.append(_translated(attributes, _data(members)))
        except (ValueError, RecursionError) as error:
            unreadable.append(bodies.unreadable(place, raw, error, "id"))
    return Payload(events, sent.odd, unreadable=unreadable)


def _binary(body: bytes, headers: Mapping[bytes, bytes]) -> Payload:
    """One event: its attributes are headers, percent-encoded, and its data is the body."""
    attributes = {
        name[len(_PREFIX) :].decode("latin-1"): unquote(value.decode("latin-1"))
        for name, value in headers.items()
        if name.startswith(_PREFIX)
    }
    kind = headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
    try:
        if kind.endswith((b"/json", b"+json")):
            data = _named(_raw(body)) if body.strip() else {}
        elif kind.startswith(b"text/"):
            data = {"data": body.decode()}
        else:
            data = {"data_base64": base64.b64encode(body).decode()}
        return Payload([_translated(attributes, data)], has_odd_values(body))
    except (ValueError, RecursionError) as error:
        refused = bodies.unreadable(0, body, error, "id")
        return Payload([], False, unreadable=[refused._replace(message_id=attributes.get("id"))])


def _translated(attributes: dict[str, Any], data: Mapping[str, object]) -> bytes:
    """The event in Segment's form. Raises Rejection on what is no CloudEvent, or about nobody."""
    missing = [name for name in _REQUIRED if not attributes.get(name)]
    if missing:
        raise Rejection(f"a CloudEvent needs {', '.join(missing)}")
    if attributes["specversion"] != "1.0":
        raise Rejection(f"specversion {str(attributes['specversion'])[:20]!r} is not taken: send CloudEvents 1.0")
    more = {name: value for name, value in attributes.items() if name not in _SAID and name not in _TRACE}
    return _encode(
        {
            "type": "track",
            "event": attributes["type"],
            "messageId": _message_id(str(attributes["source"]), str(attributes["id"])),
            **_ids(attributes),
            "timestamp": attributes.get("time"),
            "properties": data,
            "context": {"cloudevent": {"source": attributes["source"], **more}},
        }
    )


def _message_id(source: str, id: str) -> str:
    """An id is unique within its source alone."""
    text = f"{source} {id}"
    return text if len(text) <= MESSAGE_ID else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _ids(attributes: dict[str, Any]) -> dict[str, object]:
    subject, device = attributes.get("subject"), attributes.get("anonymousid")
    if not (subject or device):
        raise Rejection("a CloudEvent needs a subject that says whom it is about: a userId, user:… or anon:…")
    kind, _, id = str(subject or "").partition(":")
    if kind == "anon":
        return {"anonymousId": id}
    return {"userId": id if kind == "user" else subject, "anonymousId": device}


def _data(members: dict[str, msgspec.Raw]) -> Mapping[str, object]:
    if "data_base64" in members:
        return {"data_base64": members["data_base64"]}
    return _named(members["data"]) if "data" in members else {}


def _named(data: msgspec.Raw) -> Mapping[str, object]:
    """The properties: an object's members; what is no object becomes the property `data`."""
    text = bytes(data).strip()
    if text.startswith(b"{"):
        return _members(data)
    return {} if text == b"null" else {"data": data}
