"""Signatures of webhooks, over the body as it came. Pure: the time is an argument.

| form | header | signed |
| --- | --- | --- |
| standard | `webhook-signature` (Standard Webhooks) | `{webhook-id}.{webhook-timestamp}.{body}`, base64 |
| stripe | `stripe-signature` (`t=…,v1=…`) | `{t}.{body}`, hexadecimal |
| shopify | `x-shopify-hmac-sha256` | body, base64 |
| zendesk | `x-zendesk-webhook-signature` | `{x-zendesk-webhook-signature-timestamp}{body}`, base64 |
| typeform | `typeform-signature` (`sha256=…`) | body, base64 |
| header | a header of its own | nothing: the secret itself |

All are HMAC-SHA256, compared in constant time.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from standardwebhooks import Webhook

from libs.common.errors import Unauthenticated
from services.ingest.domain import clock

Form = Literal["standard", "stripe", "shopify", "zendesk", "typeform", "header"]
Headers = Mapping[str, str]

FORMS: tuple[Form, ...] = get_args(Form)
TOLERANCE = timedelta(minutes=5)
_STANDARD = "whsec_"
_SHORTEST = 8  # characters of a secret
_SHOWN = 100  # characters of a header


def make_secret(form: Form) -> str:
    """A new secret, for a sender that lets its user choose one."""
    prefix = _STANDARD if form == "standard" else ""
    return prefix + base64.b64encode(secrets.token_bytes(24)).decode()


def require_usable(form: Form, secret: str) -> None:
    """Raises ValueError when it cannot be a secret of this form."""
    if len(secret) < _SHORTEST or not secret.isascii() or not secret.isprintable():
        raise ValueError(f"a secret has at least {_SHORTEST} printable ASCII characters")
    if form == "standard":
        try:
            base64.b64decode(secret.removeprefix(_STANDARD) + "==", validate=True)
        except binascii.Error:
            raise ValueError("a secret of Standard Webhooks is whsec_ and base64: was it copied whole?") from None


def verify(
    form: Form, header: str | None, secrets: Sequence[str], headers: Headers, body: bytes, now: datetime
) -> None:
    """Raises Unauthenticated unless the body was signed with one of the secrets, and not long before or after `now`.

    `headers` have names in lower case; `header` is the one that carries the secret in the form `header`.
    """
    given, signed, sign = _FORMS[form](headers, body, now, header)
    for secret in secrets:
        expected = sign(secret, signed)
        for each in given:
            if hmac.compare_digest(expected, each.encode("latin-1", "replace")):
                return
    raise Unauthenticated(
        f"the {form} signature does not fit: it was made with another secret, or the body was changed on its way"
        if form != "header"
        else f"the secret in the header {header} is another one"
    )


Sign = Callable[[str, bytes], bytes]
_Parts = tuple[Sequence[str], bytes, Sign]


def _standard(headers: Headers, body: bytes, now: datetime, _: str | None) -> _Parts:
    id, stamp = _required(headers, "webhook-id"), _required(headers, "webhook-timestamp")
    at = _recent(stamp, now)
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Unauthenticated("the body is not UTF-8, so it cannot be signed after Standard Webhooks") from None

    def sign(secret: str, signed: bytes) -> bytes:
        made: str = Webhook(secret).sign(id, at, signed.decode())
        return made.encode()

    return _required(headers, "webhook-signature").split(" "), body, sign


def _stripe(headers: Headers, body: bytes, now: datetime, _: str | None) -> _Parts:
    parts = [part.strip().partition("=") for part in _required(headers, "stripe-signature").split(",")]
    stamp = next((value for name, _, value in parts if name == "t"), "")
    _recent(stamp, now)
    return [value for name, _, value in parts if name == "v1"], b"%b.%b" % (stamp.encode(), body), _hexadecimal


def _shopify(headers: Headers, body: bytes, now: datetime, _: str | None) -> _Parts:
    return [_required(headers, "x-shopify-hmac-sha256")], body, _base64


def _zendesk(headers: Headers, body: bytes, now: datetime, _: str | None) -> _Parts:
    stamp = _required(headers, "x-zendesk-webhook-signature-timestamp")
    _recent(stamp, now)
    return [_required(headers, "x-zendesk-webhook-signature")], stamp.encode("latin-1", "replace") + body, _base64


def _typeform(headers: Headers, body: bytes, now: datetime, _: str | None) -> _Parts:
    return [_required(headers, "typeform-signature").removeprefix("sha256=")], body, _base64


def _header(headers: Headers, body: bytes, now: datetime, header: str | None) -> _Parts:
    return [_required(headers, (header or "").lower())], body, lambda secret, _: secret.encode()


_FORMS: Mapping[Form, Callable[[Headers, bytes, datetime, str | None], _Parts]] = {
    "standard": _standard,
    "stripe": _stripe,
    "shopify": _shopify,
    "zendesk": _zendesk,
    "typeform": _typeform,
    "header": _header,
}


def _required(headers: Headers, name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise Unauthenticated(f"the header {name} is missing: this webhook must be signed")
    return value


def _recent(stamp: str, now: datetime) -> datetime:
    """When it was signed. Raises Unauthenticated when that is not a time near `now`: an old request may be a copy."""
    try:
        at = clock.parse(int(stamp) if stamp.isdecimal() and stamp.isascii() else stamp)
    except ValueError:
        raise Unauthenticated(f"the signature's time {stamp[:_SHOWN]!r} is none") from None
    if abs(now - at) > TOLERANCE:
        raise Unauthenticated(
            f"the request was signed at {at:%Y-%m-%d %H:%M:%S} UTC, more than {TOLERANCE.seconds // 60} minutes from now"
            f" ({now.astimezone(UTC):%H:%M:%S}): is a clock wrong, or is this a copy of an old request?"
        )
    return at


def _hmac(secret: str, signed: bytes) -> bytes:
    return hmac.digest(secret.encode(), signed, hashlib.sha256)


def _base64(secret: str, signed: bytes) -> bytes:
    return base64.b64encode(_hmac(secret, signed))


def _hexadecimal(secret: str, signed: bytes) -> bytes:
    return _hmac(secret, signed).hex().encode()
