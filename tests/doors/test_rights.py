"""Who may do what: every route of every service with every scope, and with every token that must not open it.

`RIGHTS` says it, one line a route; a route that is missing there, or there alone, is a failure.
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from time import time
from typing import Any

import httpx
import jwt
import pytest

from libs.common.contracts.registry import OWN_SCOPES, SCOPES, SERVICES
from libs.common.http import documentation
from libs.common.http.auth.keyring import generate_keys
from libs.common.http.auth.tokens import mint, mint_customer
from tests.client import token
from tests.conftest import KEYS
from tests.doors.five import CUSTOMERS, Five
from tests.openapi import app, operations

RIGHTS = """
GET    /livez                                       open
GET    /readyz                                      open
POST   /v1/track                                    write key
POST   /v1/identify                                 write key
POST   /v1/page                                     write key
POST   /v1/screen                                   write key
POST   /v1/group                                    write key
POST   /v1/alias                                    write key
POST   /v1/batch                                    write key
POST   /v1/import                                   write key
POST   /v1/events                                   write key
POST   /capture                                     write key
POST   /batch                                       write key
POST   /flags                                       open
POST   /v1/m                                        open
GET    /v1/projects/{write_key}/settings            open
GET    /rapport.js                                  open
POST   /v1/sources                                  sources:write
GET    /v1/sources                                  sources:read
GET    /v1/sources/{id}                             sources:read
PATCH  /v1/sources/{id}                             sources:write
POST   /v1/sources/{id}/keys                        sources:write
GET    /v1/sources/{id}/keys                        sources:read
DELETE /v1/sources/{id}/keys/{key_id}               sources:write
GET    /v1/sources/{id}/live                        sources:read
POST   /v1/sources/{id}/live/tickets                sources:read
PATCH  /v1/sources/{id}/keys/{key_id}               sources:write
GET    /v1/tracking-plan                            sources:read
PUT    /v1/tracking-plan                            sources:write
POST   /v1/tracking-plan/infer                      sources:write
POST   /v1/tracking-plan/publish                    sources:write
POST   /v1/tracking-plan/pause                      sources:write
GET    /v1/tracking-plan/violations                 sources:read
GET    /v1/usage                                    sources:read
GET    /v1/hook-mappings                            sources:read
POST   /v1/sources/{id}/hooks                       sources:write
GET    /v1/sources/{id}/hooks                       sources:read
GET    /v1/sources/{id}/hooks/{hook}                sources:read
PATCH  /v1/sources/{id}/hooks/{hook}                sources:write
DELETE /v1/sources/{id}/hooks/{hook}                sources:write
POST   /v1/sources/{id}/hooks/{hook}/secret         sources:write
POST   /v1/sources/{id}/hooks/{hook}/try            sources:read
POST   /v1/inbound/{hook}                           signature
GET    /v1/rejected                                 sources:read
POST   /v1/rejected/{id}/replay                     sources:write
POST   /v1/rejected/replay                          sources:write
GET    /v1/warnings                                 sources:read
GET    /v1/blocked-ids                              sources:read
PUT    /v1/blocked-ids                              sources:write
GET    /v1/customers                                customers:read
GET    /v1/customers/summary                        customers:read
GET    /v1/customers/{ref}                          customers:read
GET    /v1/customers/{ref}/timeline                 customers:read
GET    /v1/customers/{ref}/timeline/stream          customers:read
POST   /v1/customers/{ref}/timeline/stream/tickets  customers:read
GET    /v1/customers/{ref}/consents                 customers:read  own:consent
PUT    /v1/customers/{ref}/consents                 customers:write own:consent
GET    /v1/customers/{ref}/consents/{purpose}       customers:read  own:consent
PUT    /v1/customers/{ref}/consents/{purpose}       customers:write own:consent
POST   /v1/customers/{ref}/consents/{purpose}/requests  customers:write
POST   /v1/customers/{ref}/notes                    customers:write
GET    /v1/customers/{ref}/notes                    customers:read
POST   /v1/customers/{ref}/deselect                 customers:write
POST   /v1/customers/{ref}/reselect                 customers:write
PUT    /v1/customers/{ref}/relationship             customers:write
POST   /v1/customers/{ref}/tasks                    customers:write
GET    /v1/tasks                                    customers:read
GET    /v1/tasks/{id}                               customers:read
POST   /v1/tasks/{id}/done                          customers:write
POST   /v1/consents/confirm                         open
GET    /v1/refunds/waiting                          customers:read
GET    /v1/merges                                   customers:read
GET    /v1/merges/{id}                              customers:read
POST   /v1/merges                                   customers:merge
POST   /v1/merges/preview                           customers:read
POST   /v1/segments                                 segments:write
GET    /v1/segments                                 segments:read
GET    /v1/segments/{id}                            segments:read
PUT    /v1/segments/{id}                            segments:write
POST   /v1/segments/{id}/preview                    segments:read
POST   /v1/segments/{id}/publish                    segments:write
POST   /v1/segments/{id}/archive                    segments:write
GET    /v1/segments/{id}/customers                  segments:read
GET    /v1/segments/{id}/customers/{ref}            segments:read
GET    /v1/segments/{id}/sizes                      segments:read
PUT    /v1/segments/{id}/members                    segments:write
GET    /v1/workspace/customers                      customers:read
PUT    /v1/workspace/customers                      segments:write
POST   /v1/computed-traits                          segments:write
GET    /v1/computed-traits                          segments:read
GET    /v1/computed-traits/{id}                     segments:read
PUT    /v1/computed-traits/{id}                     segments:write
POST   /v1/computed-traits/{id}/preview             segments:read
POST   /v1/computed-traits/{id}/publish             segments:write
POST   /v1/computed-traits/{id}/archive             segments:write
POST   /v1/customers/{ref}/export                   customers:export
POST   /v1/customers/{ref}/erasure                  customers:erase
GET    /v1/erasures                                 customers:erase
GET    /v1/erasures/{id}                            customers:erase
POST   /v1/ingest/export                            customers:export
POST   /v1/rewards/export                           customers:export
POST   /v1/triggers/export                          customers:export
POST   /v1/metrics/export                           customers:export
GET    /v1/profile/dead-letters                     operate
GET    /v1/profile/dead-letters/{id}                operate
POST   /v1/profile/dead-letters/{id}/replay         operate
POST   /v1/profile/dead-letters/replay              operate
POST   /v1/profile/dead-letters/skip                operate
POST   /v1/profile/dead-letters/{id}/discard        operate
POST   /v1/programmes                               rewards:write
GET    /v1/programmes                               rewards:read
GET    /v1/programmes/{id}                          rewards:read
PUT    /v1/programmes/{id}                          rewards:write
POST   /v1/programmes/{id}/publish                  rewards:write
GET    /v1/customers/{ref}/points                   rewards:read    own:points
GET    /v1/customers/{ref}/statement                rewards:read    own:points
GET    /v1/customers/{ref}/badges                   rewards:read    own:points
GET    /v1/customers/{ref}/level                    rewards:read    own:points
POST   /v1/customers/{ref}/adjustments              rewards:write
GET    /v1/budgets                                  rewards:read
GET    /v1/ledger                                   rewards:read
GET    /v1/ledger/check                             operate
GET    /v1/rewards/summary                          rewards:read
GET    /v1/rewards/dead-letters                     operate
GET    /v1/rewards/dead-letters/{id}                operate
POST   /v1/rewards/dead-letters/{id}/replay         operate
POST   /v1/rewards/dead-letters/replay              operate
POST   /v1/rewards/dead-letters/skip                operate
POST   /v1/rewards/dead-letters/{id}/discard        operate
POST   /v1/hooks                                    hooks:write
GET    /v1/hooks                                    hooks:read
GET    /v1/hooks/{id}                               hooks:read
PUT    /v1/hooks/{id}                               hooks:write
POST   /v1/hooks/{id}/publish                       hooks:write
POST   /v1/hooks/{id}/pause                         hooks:write
POST   /v1/hooks/{id}/resume                        hooks:write
POST   /v1/hooks/{id}/secret                        hooks:write
GET    /v1/workspace/messages                       hooks:read
PUT    /v1/workspace/messages                       hooks:write
GET    /v1/hooks/{id}/why                           hooks:read
POST   /v1/hooks/{id}/test                          hooks:read
GET    /v1/customers/{ref}/inbox                    customers:read  own:inbox
POST   /v1/customers/{ref}/inbox/{message}/seen     hooks:write     own:inbox
GET    /v1/customers/{ref}/inbox/stream             customers:read  own:inbox
POST   /v1/customers/{ref}/inbox/stream/tickets     customers:read  own:inbox
GET    /v1/customers/{ref}/messages                 customers:read
POST   /v1/customers/{ref}/messages/off             hooks:write
POST   /v1/customers/{ref}/messages/on              hooks:write
GET    /v1/triggers/summary                         hooks:read
GET    /v1/triggers/dead-letters                    operate
GET    /v1/triggers/dead-letters/{id}               operate
POST   /v1/triggers/dead-letters/{id}/replay        operate
POST   /v1/triggers/dead-letters/replay             operate
POST   /v1/triggers/dead-letters/skip               operate
POST   /v1/triggers/dead-letters/{id}/discard       operate
POST   /v1/fits                                     metrics:write
GET    /v1/fits                                     metrics:read
GET    /v1/fits/{id}                                metrics:read
GET    /v1/fits/{id}/holdout                        metrics:read
GET    /v1/scores                                   metrics:read
GET    /v1/customers/{ref}/score                    metrics:read
GET    /v1/metrics/summary                          metrics:read
GET    /v1/kpis/stream                              metrics:read
POST   /v1/kpis/stream/tickets                      metrics:read
GET    /v1/kpis/{name}                              metrics:read
GET    /v1/metrics/dead-letters                     operate
GET    /v1/metrics/dead-letters/{id}                operate
POST   /v1/metrics/dead-letters/{id}/replay         operate
POST   /v1/metrics/dead-letters/replay              operate
POST   /v1/metrics/dead-letters/skip                operate
POST   /v1/metrics/dead-letters/{id}/discard        operate
"""
UNDESCRIBED = {"/healthz", "/metrics", *documentation.PATHS}
"""Open to all, and on no page; beside them only what browsers ask first, and other names of the routes for events."""
POSTHOG = {"/e", "/i/v0/e", "/i/v0/ai/batch", "/decide"}
"""Other names of the routes for PostHog's clients; its script asks for settings, which are the same for all."""
SETTINGS = {"/array/{token}/config", "/array/{token}/config.js"}
NOBODY, NOTHING = "user:nobody-of-this-name", "00000000-0000-7000-8000-000000000000"
ME, OTHER = "user:user-1", "user:user-3"


class Right:
    """A line of the table."""

    def __init__(self, line: str) -> None:
        self.method, self.path, *said = line.replace("write key", "key").split()
        self.needs, self.own = said[0], said[1] if len(said) > 1 else None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def service(self) -> str:
        return next(each.service for each in operations() if (each.method, each.path) == (self.method, self.path))

    def url(self, ref: str = NOBODY, message: str = NOTHING) -> str:
        """The path with the ids of what is not there: what is asked first is who asks."""
        path = self.path.replace("{ref}", ref).replace("{message}", message).replace("{name}", "orders")
        path = path.replace("{purpose}", "marketing").replace("{hook}", NOTHING)
        return path.replace("{id}", NOTHING).replace("{key_id}", NOTHING).replace("{write_key}", "nothing")


TABLE = [Right(line) for line in RIGHTS.strip().splitlines()]
GUARDED = [right for right in TABLE if right.needs not in ("open", "key", "signature")]
OWN = [right for right in TABLE if right.own is not None]


def test_the_table_has_every_route_and_no_other() -> None:
    described = sorted({(each.method, each.path) for each in operations()})
    assert sorted((right.method, right.path) for right in TABLE) == described


@pytest.mark.parametrize("service", SERVICES)
def test_no_route_hides(service: str) -> None:
    """What is on no page is an event's route under another name, what a browser asks before it, or open as it must be."""
    described = {(each.method, each.path) for each in operations() if each.service == service}
    shorts = {*(f"/v1/{name}" for name in "t i p s g a b".split()), *POSTHOG}
    for method, path in _routes(app(service).routes):
        named = path.rstrip("/")
        if (method, named) not in described and named not in UNDESCRIBED:
            assert service == "ingest"
            known = method == "OPTIONS" or (method == "POST" and named in shorts)
            assert known or (method == "GET" and named in SETTINGS), f"{method} {path}"


def _routes(routes: Any) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from _routes(inner.routes)
        else:
            yield from ((method, route.path) for method in route.methods - {"HEAD"})


async def status(client: httpx.AsyncClient, right: Right, headers: Mapping[str, str], **where: str) -> int:
    """What is answered to a body that is none; a stream that begins is not waited for."""
    body = None if right.method == "GET" else b"{}"
    kind = {"content-type": "application/json"}
    async with client.stream(right.method, right.url(**where), content=body, headers={**kind, **headers}) as answer:
        if answer.is_error:
            await answer.aread()
            assert answer.headers["content-type"] == "application/problem+json"
            assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
        return answer.status_code


def signed(claims: Mapping[str, Any], key: str = KEYS[0], algorithm: str = "EdDSA") -> dict[str, str]:
    return {"authorization": f"Bearer {jwt.encode(dict(claims), key, algorithm)}"}


@cache
def refused() -> dict[str, dict[str, str]]:
    """Headers that open nothing, by what is wrong with them."""
    now = int(time())
    sound = {
        "iss": "rapport",
        "aud": "rapport",
        "sub": "marta",
        "scope": " ".join(SCOPES),
        "iat": now,
        "exp": now + 600,
    }
    mine = {"aud": "rapport-customer", "sub": NOBODY, "scope": " ".join(OWN_SCOPES), "exp": now + 600}
    confused = (
        jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}')
        + b"."
        + jwt.encode(sound, "a" * 32, "HS256").split(".")[1].encode()
    )
    forged = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(confused, KEYS[1].encode())
    basic = "Basic " + b64encode(b"marta:password").decode()
    return {
        "nothing": {},
        "no scheme": {"authorization": mint(KEYS[0], "marta", SCOPES, timedelta(hours=1))},
        "a password": {"authorization": basic},
        "no token": {"authorization": "Bearer nonsense"},
        "expired": bearer_for(-60),
        "without an end": signed({name: value for name, value in sound.items() if name != "exp"}),
        "for another audience": signed({**sound, "aud": "another"}),
        "of another issuer": signed({**sound, "iss": "another"}),
        "not valid yet": signed({**sound, "nbf": now + 600}),
        "unsigned": signed(sound, "", "none"),
        "signed with the public key as a secret": {
            "authorization": f"Bearer {confused.decode()}.{jwt.utils.base64url_encode(forged).decode()}"
        },
        "signed by somebody else": signed(sound, generate_keys()[0]),
        "a customer's, signed by us": signed(mine),
        "ours, signed by a customer's backend": signed(sound, CUSTOMERS[0]),
        "a customer's, expired": signed({**mine, "exp": now - 60}, CUSTOMERS[0]),
        "a customer's, unsigned": signed(mine, "", "none"),
        "a customer's, for longer than a day": signed({**mine, "exp": now + 3 * 86400}, CUSTOMERS[0]),
        "a customer's, for no customer": signed({**mine, "sub": "marta"}, CUSTOMERS[0]),
    }


def bearer_for(seconds: float) -> dict[str, str]:
    return {"authorization": f"Bearer {mint(KEYS[0], 'marta', SCOPES, timedelta(seconds=seconds))}"}


@cache
def customer(ref: str, *scopes: Any) -> dict[str, str]:
    """A customer's own token."""
    token = mint_customer(CUSTOMERS[0], ref, scopes or OWN_SCOPES, ttl=timedelta(hours=1))
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize("right", GUARDED, ids=str)
async def test_one_scope_opens_it_and_no_other(five: Five, right: Right) -> None:
    client = five.clients[right.service]
    for scope in SCOPES:
        answered = await status(client, right, token(scope))
        assert answered == 403 if scope != right.needs else answered not in (401, 403), f"{scope}: {answered}"
    without = mint(KEYS[0], "marta", (), timedelta(hours=1))
    assert await status(client, right, {"authorization": f"Bearer {without}"}) == 403
    assert await status(client, right, token(*(scope for scope in SCOPES if scope != right.needs))) == 403


@pytest.mark.parametrize("right", GUARDED, ids=str)
async def test_no_token_that_is_wrong_opens_it(five: Five, right: Right) -> None:
    wrong = {**refused(), "a write key": {"authorization": f"Bearer {five.write_key}"}}
    for what, headers in wrong.items():
        assert await status(five.clients[right.service], right, headers) == 401, what


@pytest.mark.parametrize("right", GUARDED, ids=str)
async def test_a_customer_may_do_what_the_table_says_and_with_their_own_only(five: Five, right: Right) -> None:
    client = five.clients[right.service]
    claims = {"aud": "rapport-customer", "sub": ME, "scope": " ".join((*SCOPES, *OWN_SCOPES)), "exp": int(time()) + 60}
    for ref in (NOBODY, OTHER):
        assert await status(client, right, customer(ME), ref=ref) == 403
    if right.own is None:  # their own things too: this is not for them
        assert await status(client, right, customer(ME), ref=ME) == 403
        assert await status(client, right, signed(claims, CUSTOMERS[0]), ref=ME) == 403
    else:
        assert await status(client, right, customer(ME, right.own), ref=ME) not in (401, 403)
        others = [scope for scope in OWN_SCOPES if scope != right.own]
        assert await status(client, right, customer(ME, *others), ref=ME) == 403


async def test_a_customer_reads_their_own_under_each_of_their_names(five: Five) -> None:
    mine = (await five.call("rewards", "GET", f"/v1/customers/{ME}/points")).json()
    for ref in (ME, mine["customer"], "anon:browser-user-1"):
        for by in (ME, mine["customer"], "anon:browser-user-1"):
            answer = await five.call("rewards", "GET", f"/v1/customers/{ref}/points", headers=customer(by))
            assert answer.json() == mine


@pytest.mark.parametrize("right", [right for right in TABLE if right.needs == "signature"], ids=str)
async def test_a_signature_is_needed_and_nothing_else_is_one(five: Five, right: Right) -> None:
    path = right.path.replace("{hook}", five.known["/v1/inbound/"]["hook"][0])
    key = {"authorization": f"Bearer {five.write_key}"}
    for headers in (*refused().values(), token(*SCOPES), customer(ME), key):
        answer = await five.call(right.service, right.method, path, json={}, headers=headers)
        assert answer.status_code == 401


@pytest.mark.parametrize("right", [right for right in TABLE if right.needs == "key"], ids=str)
async def test_events_need_a_write_key_and_no_token_is_one(five: Five, right: Right) -> None:
    for headers in (*refused().values(), token(*SCOPES), customer(ME), {"authorization": "Bearer rk_" + "0" * 38}):
        answer = await five.call("ingest", right.method, right.path, json={"batch": []}, headers=headers)
        assert answer.status_code == 401
    key = {"authorization": f"Bearer {five.write_key}"}
    sent = await five.call("ingest", right.method, right.path, json={"batch": []}, headers=key)
    assert sent.status_code == 200
