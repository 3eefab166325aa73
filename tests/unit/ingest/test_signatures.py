"""Signatures of webhooks: as their senders make them, and nothing else."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from libs.common.errors import Unauthenticated
from services.ingest.inbound.signatures import FORMS, TOLERANCE, Form, make_secret, require_usable, verify

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
BODY = '{"id": "evt_1", "name": "Größe"}'.encode()
SECRET = "shhh-this-is-secret"  # as a sender shows it
STANDARD = "whsec_" + base64.b64encode(b"x" * 24).decode()


def secret_of(form: Form) -> str:
    return STANDARD if form == "standard" else SECRET


def signed(form: Form, secret: str, body: bytes = BODY, at: datetime = NOW) -> dict[str, str]:
    """The headers that the sender sends, written from its own documentation."""
    stamp = str(int(at.timestamp()))

    def digest(text: bytes) -> bytes:
        return hmac.new(secret.encode(), text, hashlib.sha256).digest()

    match form:
        case "standard":
            signature = Webhook(secret).sign("msg_1", at, body.decode())
            return {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": f"v1,bm8= {signature}"}
        case "stripe":
            made = digest(f"{stamp}.".encode() + body).hex()
            return {"stripe-signature": f"t={stamp},v1={'0' * 64},v1={made},v0=old"}
        case "shopify":
            return {"x-shopify-hmac-sha256": base64.b64encode(digest(body)).decode()}
        case "zendesk":
            written = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            made = base64.b64encode(digest(written.encode() + body)).decode()
            return {"x-zendesk-webhook-signature": made, "x-zendesk-webhook-signature-timestamp": written}
        case "typeform":
            return {"typeform-signature": "sha256=" + base64.b64encode(digest(body)).decode()}
        case "header":
            return {"x-hook-secret": secret}


def check(form: Form, headers: dict[str, str], *secrets: str, body: bytes = BODY, now: datetime = NOW) -> None:
    verify(form, "X-Hook-Secret" if form == "header" else None, secrets, headers, body, now)


@pytest.mark.parametrize("form", FORMS)
def test_what_the_sender_signed_is_taken_also_with_an_old_secret(form: Form) -> None:
    secret = secret_of(form)
    check(form, signed(form, secret), secret)
    check(form, signed(form, secret), make_secret(form), secret)


@pytest.mark.parametrize("form", FORMS)
def test_anything_else_is_refused(form: Form) -> None:
    secret = secret_of(form)
    headers = signed(form, secret)
    for wrong in ({}, {name: "" for name in headers}, {name: "ü,ü=ü" for name in headers}):
        with pytest.raises(Unauthenticated):
            check(form, wrong, secret)
    with pytest.raises(Unauthenticated):
        check(form, headers, make_secret(form))
    if form != "header":
        with pytest.raises(Unauthenticated, match="signature does not fit"):
            check(form, headers, secret, body=BODY + b" ")


@pytest.mark.parametrize("form", ["standard", "stripe", "zendesk"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_copy_of_an_old_request_is_refused(form: Form, sign: int) -> None:
    secret = secret_of(form)
    check(form, signed(form, secret, at=NOW - sign * TOLERANCE), secret)
    old = signed(form, secret, at=NOW - sign * (TOLERANCE + timedelta(seconds=1)))
    with pytest.raises(Unauthenticated, match="more than 5 minutes from now"):
        check(form, old, secret)


def test_a_body_that_is_no_text_is_refused() -> None:
    headers = signed("standard", STANDARD, b"{}")
    with pytest.raises(Unauthenticated, match="UTF-8"):
        check("standard", headers, STANDARD, body=b"\xff")


@pytest.mark.parametrize("form", FORMS)
def test_secrets_that_are_made_can_be_used(form: Form) -> None:
    made = make_secret(form)
    require_usable(form, made)
    check(form, signed(form, made), made)
    assert made != make_secret(form)
    for wrong in ("", "short", "with\nnewline", "größer als acht"):
        with pytest.raises(ValueError, match="at least 8"):
            require_usable(form, wrong)


def test_a_standard_secret_is_base64() -> None:
    with pytest.raises(ValueError, match="copied whole"):
        require_usable("standard", "whsec_!!!!!!!!!")
