"""Consents over REST, through the whole service: who may say what, once, with proof; double opt-in; merges and races."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from pydantic import SecretStr, ValidationError

from libs.common.contracts.registry import OwnScope
from libs.common.db.pool import Database
from libs.common.http.auth.tokens import mint_customer
from services.profile.handler import Profile as Handler
from services.profile.settings import Settings
from tests.client import token
from tests.conftest import CUSTOMER_KEYS
from tests.integration.profile.service import NOON, Profile, apply, batch_of, both, event, serving

SECRET = "a-secret-of-at-least-32-characters"
ANN = "customers/user:ann"


def own(ref: str = "user:ann", *scopes: OwnScope) -> dict[str, str]:
    """A customer's own token."""
    minted = mint_customer(CUSTOMER_KEYS[0], ref, scopes or ("own:consent",), ttl=timedelta(hours=1))
    return {"authorization": f"Bearer {minted}"}


@pytest.fixture
async def shop(profile_settings: Settings) -> AsyncIterator[Profile]:
    """Profile with a secret, and ann."""
    given = profile_settings.model_copy(update={"consent_secret": SecretStr(SECRET)})
    async with serving(given) as profile:
        await profile.tell(event("identify", "ann", "a1", message="m1", traits={"name": "Ann"}))
        yield profile


async def changes(profile: Profile) -> list[dict[str, Any]]:
    """The changes of consent in the journal."""
    return [record for record in await profile.records() if record["type"] == "consent.changed.v1"]


async def test_a_statement_is_state_history_and_journal_at_once(shop: Profile) -> None:
    said = {"status": "granted", "channel": "Email", "source": "preference page", "text_version": "2026-03"}
    answer = await shop.put(f"{ANN}/consents/Marketing", said)
    assert answer["consent"] == {"marketing.email": "granted"}
    ann = await shop.get(ANN)
    assert ann["consent"] == {"marketing.email": "granted"}
    (item,) = (await shop.get(f"{ANN}/consents"))["items"]
    assert (item["purpose"], item["channel"], item["status"]) == ("marketing", "email", "granted")
    proof = {name: item["proof"][name] for name in ("source", "text_version", "by", "carried")}
    assert proof == {"source": "preference page", "text_version": "2026-03", "by": "marta", "carried": False}
    (change,) = await changes(shop)
    assert change["key"] == change["subject"] == ann["id"]
    assert change["causationid"] == item["proof"]["record"]
    assert change["data"]["customer"]["consent"] == {"marketing.email": True}
    assert change["data"]["customer"]["traits"] == {"name": "Ann"}
    timeline = (await shop.get(f"{ANN}/timeline"))["items"]
    assert timeline[0]["name"] == "Consent Changed"
    assert timeline[0]["data"]["status"] == "granted"
    assert ann["last_seen"] == (await shop.get(ANN))["last_seen"] == "2026-03-02T12:00:00Z"


async def test_the_history_shows_every_statement_the_latest_first(shop: Profile) -> None:
    times = [NOON + timedelta(minutes=minute) for minute in (3, 1, 2)]
    for at, status in zip(times, ("granted", "granted", "denied"), strict=True):
        await shop.put(f"{ANN}/consents/marketing", {"status": status, "at": at.isoformat()})
    history = await shop.get(f"{ANN}/consents/marketing")
    assert [each["status"] for each in history["items"]] == ["granted", "denied", "granted"]
    assert [each["at"] for each in history["items"]] == [f"2026-03-02T12:0{minute}:00Z" for minute in (3, 2, 1)]
    (now,) = history["now"]
    assert (now["status"], now["proof"]["at"]) == ("granted", "2026-03-02T12:03:00Z")
    assert len(await changes(shop)) == 1  # the others came later and changed nothing
    first = await shop.get(f"{ANN}/consents/marketing", limit=2)
    rest = await shop.get(f"{ANN}/consents/marketing", limit=2, cursor=first["next"])
    assert (first["items"] + rest["items"], rest["next"]) == (history["items"], None)
    assert (await shop.get(f"{ANN}/consents/profiling"))["items"] == []


async def test_a_preference_page_saves_all_choices_with_the_customers_own_token(shop: Profile) -> None:
    choices = {"consent": {"marketing": "granted", "marketing.sms": "denied"}, "source": "preference page"}
    answer = await shop.ask("PUT", f"{ANN}/consents", json=choices, headers=own())
    assert answer["consent"] == choices["consent"]
    listed = await shop.ask("GET", "customers/anon:a1/consents", headers=own())
    assert {each["proof"]["by"] for each in listed["items"]} == {"user:ann"}
    await shop.tell(event(user="ben", message="m2"))
    for path, method, headers, status in (
        ("customers/user:ben/consents", "GET", own(), 403),
        ("customers/user:ben/consents", "PUT", own(), 403),
        (f"{ANN}/consents", "PUT", own("user:ann", "own:points"), 403),
        (f"{ANN}/consents", "PUT", token("customers:read"), 403),
        (f"{ANN}/consents/marketing/requests", "POST", own(), 403),
    ):
        await shop.ask(method, path, status, json=choices if method == "PUT" else None, headers=headers)
    past = {**choices, "at": NOON.isoformat()}
    refused = await shop.ask("PUT", f"{ANN}/consents", 422, json=past, headers=own())
    assert "leave out `at`" in refused["detail"]
    assert (await shop.get("customers/user:ben"))["consent"] == {}


async def test_an_idempotency_key_makes_it_once(shop: Profile) -> None:
    path, key = f"{ANN}/consents/marketing", {"Idempotency-Key": "page-1"}
    answers = await both(*(shop.ask("PUT", path, json={"status": "granted"}, headers=key) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len((await shop.get(path))["items"]) == 1
    refused = await shop.ask("PUT", path, 409, json={"status": "denied"}, headers=key)
    assert "use a new key" in refused["detail"]
    await shop.tell(event(user="ben", message="m2"))
    await shop.ask("PUT", "customers/user:ben/consents/marketing", 409, json={"status": "granted"}, headers=key)


async def test_pages_of_the_shop_may_state_consents(profile_settings: Settings) -> None:
    async with serving(profile_settings.model_copy(update={"browser_origins": ("https://shop.example",)})) as profile:
        for origin, lets_in in (("https://shop.example", True), ("https://elsewhere.example", False)):
            wanted = {"access-control-request-method": "PUT", "access-control-request-headers": "idempotency-key"}
            asked = await profile.client.options(f"/v1/{ANN}/consents", headers={"origin": origin, **wanted})
            assert asked.is_success == lets_in


async def test_customers_have_keys_of_their_own(shop: Profile) -> None:
    await shop.tell(event(user="ben", message="m2"))
    for user, status in (("ann", "granted"), ("ben", "denied")):
        headers = {**own(f"user:{user}"), "Idempotency-Key": "page-1"}
        path = f"customers/user:{user}/consents/marketing"
        for _ in range(2):
            assert (await shop.ask("PUT", path, json={"status": status}, headers=headers))["consent"] == {
                "marketing": status
            }
        assert len((await shop.get(path))["items"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("user:nobody/consents/marketing", {"status": "granted"}, 404, "no customer user:nobody"),
        ("018f0000-0000-8000-8000-000000000000/consents/marketing", {"status": "granted"}, 404, "no customer"),
        ("user:ann/consents/service", {"status": "denied"}, 422, "need no consent"),
        ("user:ann/consents/a.b", {"status": "denied"}, 422, "purpose"),
        ("user:ann/consents/marketing", {"status": "maybe"}, 422, "status"),
        ("user:ann/consents/marketing", {"status": "pending"}, 422, "status"),
        ("user:ann/consents/marketing", {"status": "granted", "at": "2999-01-01T00:00:00Z"}, 422, "future"),
        ("user:ann/consents", {"consent": {"two words.": "granted"}}, 422, "'two words.' is no purpose"),
        ("user:ann/consents", {"consent": {"A": "granted", "a": "denied"}}, 422, "the same"),
        ("user:ann/consents", {"consent": {}}, 422, "consent"),
    ],
)
async def test_what_cannot_be_said_says_why(
    shop: Profile, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    assert says in str(await shop.ask("PUT", f"customers/{path}", status, json=body))
    assert await changes(shop) == []


async def test_double_opt_in_waits_for_the_link(shop: Profile) -> None:
    path, asked = f"{ANN}/consents/newsletter/requests", {"channel": "email", "text_version": "7", "source": "footer"}
    key = {"Idempotency-Key": "form-1"}
    made = await shop.ask("POST", path, 201, json=asked, headers=key)
    assert made == await shop.ask("POST", path, 201, json=asked, headers=key)
    assert made["status"] == "pending"
    assert (await shop.get(ANN))["consent"] == {"newsletter.email": "pending"}
    del shop.client.headers["authorization"]
    for wrong in ("nonsense", made["token"][:-2], forged(made["token"])):
        await shop.ask("POST", "consents/confirm", 404, json={"token": wrong})
    for _ in range(2):
        confirmed = await shop.ask("POST", "consents/confirm", json={"token": made["token"]})
        assert confirmed == {"purpose": "newsletter", "channel": "email", "status": "granted"}
    shop.client.headers.update(token())
    history = (await shop.get(f"{ANN}/consents/newsletter"))["items"]
    assert [(each["status"], each["source"], each["text_version"]) for each in history] == [
        ("granted", "confirmed link", "7"),
        ("pending", "footer", "7"),
    ]
    waiting, granted = await changes(shop)
    assert (waiting["data"]["status"], granted["data"]["status"]) == ("pending", "granted")
    assert "consent" not in waiting["data"]["customer"]  # what waits allows nothing
    await shop.put(f"{ANN}/consents/newsletter", {"status": "denied"})
    refused = await shop.ask("POST", "consents/confirm", 409, json={"token": made["token"]})
    assert "ask for a new link" in refused["detail"]


def forged(link: str) -> str:
    claims = jwt.decode(link, options={"verify_signature": False})
    return jwt.encode(claims, "another-secret-of-32-characters..", algorithm="HS256")


async def test_a_link_expires_and_outlives_a_change_of_secrets(shop: Profile, profile_settings: Settings) -> None:
    made = await shop.ask("POST", f"{ANN}/consents/newsletter/requests", 201, json={"expires_in": 3600})
    claims = jwt.decode(made["token"], options={"verify_signature": False})
    old = jwt.encode({**claims, "exp": int(datetime.now(UTC).timestamp()) - 1}, SECRET, algorithm="HS256")
    assert "expired" in (await shop.ask("POST", "consents/confirm", 404, json={"token": old}))["detail"]
    changed = {"consent_secret": SecretStr(f"{'n' * 32}\n{SECRET}\n")}
    async with serving(profile_settings.model_copy(update=changed)) as renewed:
        assert (await renewed.post("consents/confirm", {"token": made["token"]}))["status"] == "granted"


async def test_without_a_secret_there_is_no_double_opt_in(profile: Profile) -> None:
    await profile.tell(event(user="ann", message="m1"))
    refused = await profile.ask("POST", f"{ANN}/consents/newsletter/requests", 409, json={})
    assert "RAPPORT_PROFILE_CONSENT_SECRET" in refused["detail"]
    assert (await profile.get(ANN))["consent"] == {}


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValidationError, match="32 characters or more"):
        Settings(consent_secret=SecretStr("short"))


async def test_a_merge_keeps_the_later_statement_and_all_history(shop: Profile) -> None:
    await shop.tell(event("page", device="a2", message="m2"))
    link = await shop.ask("POST", "customers/anon:a2/consents/ads/requests", 201, json={})
    await shop.put(f"{ANN}/consents/marketing", {"status": "granted", "at": NOON.isoformat()})
    await shop.put("customers/anon:a2/consents/marketing", {"status": "denied", "source": "banner"})
    await shop.tell(event("identify", "ann", "a2", message="m3"))
    assert (await shop.get(ANN))["consent"] == {"ads": "pending", "marketing": "denied"}
    history = await shop.get("customers/anon:a2/consents/marketing")
    assert [each["status"] for each in history["items"]] == ["denied", "granted"]
    assert history["now"][0]["proof"]["source"] == "banner"
    assert (await shop.post("consents/confirm", {"token": link["token"]}))["status"] == "granted"
    (last,) = (
        each for each in await changes(shop) if (each["data"]["purpose"], each["data"]["status"]) == ("ads", "granted")
    )
    assert last["data"]["customer"]["consent"] == {"ads": True, "marketing": False}


async def test_commands_and_events_at_once_lose_nothing(shop: Profile, database: Database) -> None:
    """Statements of one customer over REST, and events of theirs, one of which merges a device that is stated about too."""
    await shop.tell(event("page", device="a2", message="m2"))
    handler = Handler(UTC, 8)

    async def events() -> None:
        for number in range(6):
            device = "a2" if number == 3 else "a1"
            carried = {"consent": {"categoryPreferences": {f"carried-{number}": True}}}
            told = event("track", "ann", device, message=f"e{number}", context=carried)
            await _insistent(database, handler, told)

    async def state(ref: str, purpose: str) -> None:
        await shop.put(f"customers/{ref}/consents/{purpose}", {"status": "granted"})

    stated = [state("user:ann" if number % 2 else "anon:a2", f"stated-{number}") for number in range(10)]
    await both(events(), *stated)
    consent = (await shop.get(ANN))["consent"]
    assert consent == {
        **{f"carried-{number}": "granted" for number in range(6)},
        **{f"stated-{number}": "granted" for number in range(10)},
    }
    last = max(await changes(shop), key=lambda change: len(change["data"]["customer"]["consent"]))
    assert len(last["data"]["customer"]["consent"]) == 16


async def _insistent(database: Database, handler: Handler, told: Any) -> None:
    """As the fold: an event that met another change is tried again."""
    while True:
        try:
            await apply(database, handler, batch_of(7, [told]))
            return
        except OSError:
            await asyncio.sleep(0.01)
