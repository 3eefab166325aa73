"""An identity provider's tokens, over real HTTP: which are taken, what is cached, what holds while it is away."""

import asyncio
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
from jwt.utils import base64url_encode

from libs.common.errors import Unauthenticated, Unavailable
from libs.common.http.auth.verifier import Verifier
from libs.common.settings import Settings
from tests.client import running
from tests.integration.common.provider import ISSUER, Provider
from tests.integration.common.tiny import PUBLIC, create
from tests.support import eventually


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as started:
        for algorithm in ("EdDSA", "ES256", "RS256"):
            started.add(algorithm.lower(), algorithm)
        yield started


def verifier(provider: Provider, pause: float = 3600, **more: str) -> Verifier:
    return Verifier(
        Settings(
            jwt_public_key=PUBLIC,
            jwks_url=provider.url,
            jwks_issuer=ISSUER,
            jwks_refresh_seconds=pause,
            **more,  # type: ignore[arg-type]
        )
    )


async def refusal(checks: Verifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await checks.authenticate(token)
    return caught.value.detail


async def test_its_tokens_open_a_service(provider: Provider) -> None:
    settings = Settings(
        jwt_public_key=PUBLIC, jwks_url=provider.url, jwks_issuer=ISSUER, jwks_scope_claim="permissions"
    )
    async with running(create(settings)) as client:

        async def mine(**claims: Any) -> httpx.Response:
            token = provider.token("es256", **claims)
            return await client.get("/v1/things/mine", headers={"authorization": f"Bearer {token}"})

        await eventually(lambda: _is_ready(client))
        answer = await mine(permissions=["customers:read", "rewards:read", "coffee:make"])
        assert answer.json() == {"subject": "marta"}
        assert (await mine(permissions="customers:read rewards:read")).status_code == 200
        refused = await mine(permissions=["customers:read", "own:points"])
        assert (refused.status_code, refused.json()["held"]) == (403, ["customers:read"])
        assert (await mine(scope="customers:read rewards:read")).status_code == 403
        assert (await mine(exp=int(time.time()) - 60)).status_code == 401


async def _is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


@pytest.mark.parametrize("kid", ["eddsa", "es256", "rs256"])
async def test_each_kind_of_key_is_taken_and_the_keys_are_fetched_once(provider: Provider, kid: str) -> None:
    checks = verifier(provider)
    for who in await asyncio.gather(*(checks.authenticate(provider.token(kid)) for _ in range(20))):
        assert (who.subject, sorted(who.scopes), who.customer) == ("marta", ["rewards:read"], None)
    assert provider.asked == 1


async def test_what_is_refused(provider: Provider) -> None:
    checks = verifier(provider)
    for said, token in (
        ("expired", provider.token("rs256", exp=int(time.time()) - 60)),
        ("something else", provider.token("rs256", aud="another app")),
        ("lacks the claim exp", provider.token("rs256", exp=None)),
        ("lacks the claim sub", provider.token("rs256", sub=None)),
        ("does not have", provider.token("rs256", headers={"kid": "es256"})),
        ("does not have", provider.token("rs256", headers={"kid": "another"})),
        # a token for another issuer is none of the provider's, and its key none of ours
        ("another key", provider.token("eddsa", iss="rapport")),
    ):
        assert said in await refusal(checks, token)
    # without a key id the only key of its kind is meant
    assert (await checks.authenticate(provider.token("rs256", headers={}))).subject == "marta"


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")
async def test_no_public_key_is_taken_for_a_secret_and_none_for_another_kind(provider: Provider) -> None:
    checks = verifier(provider)
    claims = base64url_encode(json.dumps({"iss": ISSUER, "aud": "rapport", "sub": "x", "exp": 2**33}).encode()).decode()
    for key in provider.keys:
        header = base64url_encode(json.dumps({"alg": "HS256", "kid": key["kid"]}).encode()).decode()
        mac = hmac.new(json.dumps(key).encode(), f"{header}.{claims}".encode(), "sha256").digest()
        assert "not signed with" in await refusal(checks, f"{header}.{claims}.{base64url_encode(mac).decode()}")
    none = base64url_encode(b'{"alg":"none","kid":"rs256"}').decode()
    assert "not signed with" in await refusal(checks, f"{none}.{claims}.")
    assert provider.asked == 0  # nothing is fetched for what can never be taken
    # a shared secret in the list, or a key that is for encryption, or a short one, is no key for tokens
    provider.keys.append({"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"})
    provider.add("encrypts", "RS256", use="enc")
    provider.add("short", "RS256", bits=1024)
    shared = jwt.encode(
        {"iss": ISSUER, "aud": "rapport", "sub": "x", "exp": 2**33}, "secret" * 8, "HS256", {"kid": "shared"}
    )
    assert "not signed with" in await refusal(checks, shared)
    for kid in ("encrypts", "short"):
        assert "does not have" in await refusal(checks, provider.token(kid))


async def test_a_new_key_is_found_at_once_but_unknown_ones_are_no_way_to_make_us_ask(provider: Provider) -> None:
    checks = verifier(provider, pause=1e-9)
    await checks.authenticate(provider.token("eddsa"))
    provider.add("new", "EdDSA")
    assert (await checks.authenticate(provider.token("new"))).subject == "marta"
    assert provider.asked == 2
    patient = verifier(provider)
    await patient.authenticate(provider.token("new"))
    asked = provider.asked
    for number in range(50):
        assert "does not have" in await refusal(patient, provider.token("new", headers={"kid": f"invented-{number}"}))
    assert provider.asked == asked


async def test_known_keys_hold_while_the_provider_is_away_and_those_withdrawn_end(provider: Provider) -> None:
    checks = verifier(provider, pause=1e-9)
    await checks.authenticate(provider.token("eddsa"))
    published = provider.keys
    for status, keys in ((503, published), (200, [])):
        provider.status, provider.keys = status, keys
        assert "does not have" in await refusal(checks, provider.token("eddsa", headers={"kid": "unknown"}))
        assert (await checks.authenticate(provider.token("eddsa"))).subject == "marta"
    provider.status, provider.keys = 200, published
    provider.withdraw("eddsa")
    assert "does not have" in await refusal(checks, provider.token("rs256", headers={"kid": "unknown"}))
    assert "does not have" in await refusal(checks, provider.token("eddsa"))


async def test_old_keys_are_asked_for_again_without_anybody_waiting(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libs.common.http.auth.jwks.AGE", 0.0)
    checks = verifier(provider, pause=1e-9)
    await checks.authenticate(provider.token("eddsa"))
    provider.withdraw("eddsa")
    assert (await checks.authenticate(provider.token("eddsa"))).subject == "marta"

    async def ended() -> bool:
        try:
            await checks.authenticate(provider.token("eddsa"))
        except Unauthenticated:
            return True
        return False

    await eventually(ended)


async def test_a_provider_that_never_answered_is_no_fault_of_the_token(provider: Provider) -> None:
    provider.status = 500
    checks = verifier(provider, pause=1e-9)
    with pytest.raises(Unavailable, match="cannot be fetched just now"):
        await checks.authenticate(provider.token("eddsa"))
    provider.status = 200
    assert (await checks.authenticate(provider.token("eddsa"))).subject == "marta"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"jwks_url": "http://login.example/jwks"}, "https"),
        ({"jwks_url": "file:///etc/passwd"}, "https"),
        ({"jwks_issuer": ""}, "RAPPORT_JWKS_ISSUER"),
        ({"jwks_issuer": "rapport"}, "RAPPORT_JWKS_ISSUER"),
        ({"jwks_audience": "rapport-customer"}, "RAPPORT_JWKS_AUDIENCE"),
    ],
)
def test_settings_that_would_let_others_in_are_refused(wrong: dict[str, str], said: str) -> None:
    right = {"jwks_url": "https://login.example/jwks", "jwks_issuer": ISSUER}
    Settings(**right)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=said):
        Settings(**{**right, **wrong})  # type: ignore[arg-type]
