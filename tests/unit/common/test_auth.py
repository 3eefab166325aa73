"""Tokens: what is let in, and what those who are not let in are told."""

import hmac
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from jwt.utils import base64url_encode

from libs.common.contracts.registry import OWN_SCOPES
from libs.common.errors import Unauthenticated
from libs.common.http.auth import tokens
from libs.common.http.auth.keyring import generate_keys
from libs.common.http.auth.tokens import mint, mint_customer
from libs.common.http.auth.verifier import Verifier
from libs.common.settings import Settings

PRIVATE, PUBLIC = generate_keys()
SHOP_PRIVATE, SHOP_PUBLIC = generate_keys()
HOUR = timedelta(hours=1)


def verifier(public: str = PUBLIC) -> Verifier:
    return Verifier(Settings(jwt_public_key=public, customer_public_key=SHOP_PUBLIC))


def claims(**changes: object) -> dict[str, object]:
    base = {"iss": "rapport", "aud": "rapport", "sub": "ann", "scope": "operate", "exp": int(time.time()) + 60}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def signed(**changes: object) -> str:
    return jwt.encode(claims(**changes), PRIVATE, algorithm="EdDSA")


def refusal(token: str, public: str = PUBLIC) -> str:
    with pytest.raises(Unauthenticated) as caught:
        verifier(public).verify(token)
    return caught.value.detail


def test_a_minted_token_says_who_and_what() -> None:
    who = verifier().verify(mint(PRIVATE, "ann", ["rewards:write", "operate"], HOUR))
    assert who.subject == "ann"
    assert who.scopes == {"rewards:write", "operate"}


def test_a_scope_that_does_not_exist_is_not_minted() -> None:
    with pytest.raises(ValueError, match="rewards:wirte; the scopes are customers:erase"):
        mint(PRIVATE, "ann", ["rewards:wirte"], HOUR)


def test_a_key_may_come_on_one_line_as_environment_files_have_it() -> None:
    assert verifier(PUBLIC.replace("\n", "\\n")).verify(signed()).subject == "ann"


def test_a_write_key_is_told_what_it_is() -> None:
    assert refusal("rk_BwTkoyJ9NTFWmoskYSVOAAix4gxx1PYAYsxHD2").startswith("This is a write key")


def test_an_expired_token_is_told_when_it_expired_and_how_to_get_another() -> None:
    detail = refusal(mint(PRIVATE, "ann", ["operate"], -HOUR))
    assert "expired at 20" in detail
    assert "rapport token" in detail


def test_clocks_may_differ_by_half_a_minute() -> None:
    assert verifier().verify(signed(exp=int(time.time()) - tokens.LEEWAY + 10)).subject == "ann"
    refusal(signed(exp=int(time.time()) - tokens.LEEWAY - 10))


@pytest.mark.parametrize("claim", ["exp", "iss", "aud", "sub"])
def test_no_claim_that_matters_may_lack(claim: str) -> None:
    assert claim in refusal(signed(**{claim: None})) or claim in ("iss", "aud")
    refusal(signed(**{claim: None}))


def test_a_token_for_something_else_is_refused() -> None:
    assert "something else" in refusal(signed(aud="billing"))
    assert "something else" in refusal(signed(iss="https://accounts.example"))


def test_a_token_of_another_installation_is_refused() -> None:
    other, _ = generate_keys()
    assert "another key" in refusal(mint(other, "ann", ["operate"], HOUR))


def test_a_token_that_is_not_valid_yet_is_refused() -> None:
    assert "not valid yet" in refusal(signed(nbf=int(time.time()) + 600))


def test_only_ed25519_signatures_count() -> None:
    assert "EdDSA" in refusal(jwt.encode(claims(), None, algorithm="none"))  # type: ignore[arg-type]
    # the classical confusion: the public key taken as an HMAC secret
    header, body = (base64url_encode(part).decode() for part in (b'{"alg":"HS256"}', b"{}"))
    mac = hmac.new(PUBLIC.encode(), f"{header}.{body}".encode(), "sha256").digest()
    assert "EdDSA" in refusal(f"{header}.{body}.{base64url_encode(mac).decode()}")
    curve = ec.generate_private_key(ec.SECP256R1())
    assert "EdDSA" in refusal(jwt.encode(claims(), curve, algorithm="ES256"))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "." * 5, "A" * 5000])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert "cannot be read" in refusal(token)


@pytest.mark.parametrize("scope", [None, 7, ["operate"], ""])
def test_a_scope_claim_that_is_no_text_gives_no_scope(scope: object) -> None:
    assert verifier().verify(signed(scope=scope)).scopes == frozenset()


def test_a_wrong_public_key_is_a_mistake_in_the_settings() -> None:
    ed448_key = (
        ed448.Ed448PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    for wrong in ("nonsense", PRIVATE, ed448_key):
        with pytest.raises(ValueError, match="RAPPORT_JWT_PUBLIC_KEY is no Ed25519 public key"):
            verifier(wrong)


def test_without_a_key_every_token_is_refused() -> None:
    assert "RAPPORT_JWT_PUBLIC_KEY is not set" in refusal(signed(), public="")


def test_old_and_new_keys_hold_together_while_they_are_changed() -> None:
    new_private, new_public = generate_keys()
    both = verifier(PUBLIC + new_public)
    for private in (PRIVATE, new_private):
        assert both.verify(mint(private, "ann", ["operate"], HOUR)).subject == "ann"
    # a token that names no key, or one that is not there, is tried with each
    for headers in ({}, {"kid": "elsewhere"}, {"kid": 7}):
        try:
            token = jwt.encode(claims(), new_private, algorithm="EdDSA", headers=headers)
        except jwt.InvalidTokenError:  # the library refuses to write a kid that is no text
            continue
        assert both.verify(token).subject == "ann"
    assert "another key" in refusal(mint(PRIVATE, "ann", ["operate"], HOUR), new_public)
    other, _ = generate_keys()
    assert "another key" in refusal(mint(other, "ann", ["operate"], HOUR), PUBLIC + new_public)
    assert "expired" in refusal(mint(PRIVATE, "ann", ["operate"], -HOUR), new_public + PUBLIC)


def test_something_beside_the_keys_or_too_many_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ValueError, match="RAPPORT_JWT_PUBLIC_KEY is no Ed25519"):
        verifier(f"{PUBLIC} and more")
    with pytest.raises(ValueError, match="at most 8"):
        verifier("".join(generate_keys()[1] for _ in range(9)))


@pytest.mark.parametrize("ref", ["user:ann", "anon:a1", "11111111-1111-8111-8111-111111111111"])
def test_a_customers_token_says_whose_it_is(ref: str) -> None:
    who = verifier().verify(mint_customer(SHOP_PRIVATE, ref, ttl=HOUR))
    assert who.customer == ref
    assert sorted(who.scopes) == sorted(OWN_SCOPES)


def customers(**changes: object) -> str:
    return jwt.encode(claims(**{"iss": None, "aud": "rapport-customer", "sub": "user:ann", "scope": "own:points", **changes}),
                      SHOP_PRIVATE, algorithm="EdDSA")  # fmt: skip


def test_a_customers_token_holds_nothing_but_its_own_scopes() -> None:
    who = verifier().verify(customers(scope="own:points operate rewards:read"))
    assert who.scopes == {"own:points"}


@pytest.mark.parametrize("sub", ["ann", "user:", "email:ann", "", "11111111-1111"])
def test_a_customers_token_names_a_customer(sub: str) -> None:
    assert "names no customer" in refusal(customers(sub=sub))


def test_a_customers_token_is_short_lived() -> None:
    assert "a day at most" in refusal(customers(exp=int(time.time()) + 2 * 86400))
    assert "expired" in refusal(customers(exp=int(time.time()) - 60))
    assert "exp" in refusal(customers(exp=None))


def test_the_keys_of_businesses_and_of_the_installation_do_not_stand_in_for_each_other() -> None:
    shop_as_platform = mint(SHOP_PRIVATE, "ann", ["operate"], HOUR)
    assert "another key" in refusal(shop_as_platform)
    assert "another key" in refusal(mint_customer(PRIVATE, "user:ann", ttl=HOUR))
    both = jwt.encode(claims(aud=["rapport", "rapport-customer"], sub="user:ann"), SHOP_PRIVATE, algorithm="EdDSA")
    assert verifier().verify(both).customer == "user:ann"
    with pytest.raises(Unauthenticated, match="RAPPORT_CUSTOMER_PUBLIC_KEY is not set"):
        Verifier(Settings(jwt_public_key=PUBLIC)).verify(customers())
