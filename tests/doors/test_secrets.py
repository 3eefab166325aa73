"""Secrets stay secret: what services print, answer and measure is searched for all that they were told.

They run with the most talkative logs, through good days and bad: broken requests, a database that goes away, records that
nobody can apply, a receiver that says no, brokers that are none.
"""

import asyncio
import re
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import httpx
import pytest

from deploy.local.postgres import Postgres
from libs.common.contracts.registry import OWN_SCOPES, SCOPES
from libs.common.http.auth.tokens import mint, mint_customer
from tests.conftest import KEYS, free_port
from tests.doors.five import CONSENT_SECRET, CUSTOMERS, HASH_KEY, Five, Service, start, stop
from tests.integration.triggers.receiver import Receiver
from tests.support import eventually

MARK = "privatebusiness"
"""In all that is a customer's own: ids, traits, properties, reasons."""
ANN = f"{MARK}-ann@example.test"


@dataclass
class Watched:
    """The services, and every answer that they gave."""

    five: Five
    staff: str
    customer: str
    secrets: dict[str, str] = field(default_factory=dict)
    answers: list[httpx.Response] = field(default_factory=list)

    async def call(self, service: str, method: str, path: str, token: str = "", **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token or self.staff}", **options.pop("headers", {})}
        answer = await self.five.clients[service].request(method, path, headers=headers, **options)
        self.answers.append(answer)
        return answer

    async def event(self, **members: Any) -> httpx.Response:
        return await self.call("ingest", "POST", "/v1/batch", self.secrets["write key"], json={"batch": [members]})

    def printed(self) -> dict[str, str]:
        return {name: service.printed() for name, service in self.five.services.items()}


@pytest.fixture(scope="module")
async def watched(
    postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Watched]:
    dsn = postgres.create_database(f"doors_{uuid.uuid4().hex}", template=template)
    talkative = {"RAPPORT_LOG_LEVEL": "debug", "RAPPORT_TRIGGERS_WEBHOOK_ALLOW": "127.0.0.0/8"}
    five = await start(dsn, tmp_path_factory.mktemp("secrets"), **talkative)
    staff = mint(KEYS[0], "marta", SCOPES, timedelta(hours=1))
    customer = mint_customer(CUSTOMERS[0], f"user:{ANN}", OWN_SCOPES, ttl=timedelta(hours=1))
    seen = Watched(five, staff, customer)
    try:
        with Receiver(500, 200) as receiver:
            await _good_days(seen, receiver)
            await _broken_requests(seen)
            await _dead_letters(seen)
            await _no_database(seen, postgres)
            for service in five.services:
                for path in ("/readyz?verbose", "/livez", "/metrics", "/openapi.json"):
                    await seen.call(service, "GET", path)
        password = unquote(urlsplit(dsn).password or "")
        seen.secrets |= {"staff's token": staff, "customer's token": customer, "database's password": password}
        yield seen
    finally:
        await stop(five)


async def _good_days(seen: Watched, receiver: Receiver) -> None:
    source = (
        await seen.call(
            "ingest", "POST", "/v1/sources", json={"name": "shop", "private_fields": {"traits.email": "hash"}}
        )
    ).json()
    seen.secrets["write key"] = source["write_key"]
    more = (await seen.call("ingest", "POST", f"/v1/sources/{source['id']}/keys")).json()
    seen.secrets["second write key"] = more["write_key"]
    text = "Dear {{ customer.traits.name }}"
    action = {"channel": "webhook", "purpose": "service", "text": text, "url": f"{receiver.url}&token={MARK}"}
    hook = {"name": "Thanks", "trigger": {"event": "Order Completed"}, "action": action}
    made = (await seen.call("triggers", "POST", "/v1/hooks", json=hook)).json()
    seen.secrets["webhook's secret"] = made["secret"]
    await seen.call("triggers", "POST", f"/v1/hooks/{made['id']}/publish")
    ids = {"userId": ANN, "anonymousId": f"{MARK}-device"}
    await seen.event(type="identify", **ids, traits={"name": f"{MARK} Ann", "email": ANN})
    properties = {"order_id": f"{MARK}-1", "revenue": 10, "note": MARK}
    await seen.event(type="track", event="Order Completed", **ids, properties=properties)
    await eventually(lambda: _sent(seen, made["id"]))
    for service, path in (
        ("profile", ""), ("profile", "/timeline"), ("rewards", "/points"), ("rewards", "/statement"), ("triggers", "/inbox"),
        ("triggers", "/messages"), ("metrics", "/score"),
    ):  # fmt: skip
        await seen.call(service, "GET", f"/v1/customers/user:{ANN}{path}")
    await seen.call("rewards", "GET", f"/v1/customers/user:{ANN}/points", seen.customer)
    await seen.call("triggers", "GET", f"/v1/hooks/{made['id']}/why?customer=user:{ANN}")
    await seen.call("triggers", "GET", f"/v1/hooks/{made['id']}")
    asked = await seen.call(
        "profile", "POST", f"/v1/customers/user:{ANN}/consents/news/requests", json={"source": MARK}
    )
    seen.secrets |= {"confirmation": asked.json()["token"], "consent secret": CONSENT_SECRET, "hash key": HASH_KEY}
    for link in (f"{MARK}{seen.secrets['confirmation']}", seen.secrets["confirmation"]):
        await seen.call("profile", "POST", "/v1/consents/confirm", json={"token": link})
    ticket = (await seen.call("metrics", "POST", "/v1/kpis/stream/tickets")).json()["ticket"]
    seen.secrets["ticket"] = ticket
    async with seen.five.clients["metrics"].stream("GET", f"/v1/kpis/stream?ticket={ticket}") as following:
        assert following.status_code == 200
    used = await seen.five.clients["metrics"].get(f"/v1/kpis/stream?ticket={ticket}")
    assert used.status_code == 401
    seen.answers.append(used)
    await seen.call("ingest", "GET", f"/v1/projects/{seen.secrets['write key']}/settings")
    await _inbound(seen, f"/v1/sources/{source['id']}/hooks")


async def _inbound(seen: Watched, path: str) -> None:
    """Webhooks with a secret of the sender's and one that was made; deliveries that are refused, and one that is taken."""
    given, wrong = f"the-senders-{uuid.uuid4().hex}", f"another-{uuid.uuid4().hex}"
    events = [
        {"event": {"value": "Told"}, "userId": "payload.who", "properties": {"n": "int(payload.n)", "h": "headers"}}
    ]
    hook = {"name": "In", "mapping": {"events": events}, "signature": "header", "secret_header": "X-Secret"}
    made = (await seen.call("ingest", "POST", path, json=hook)).json()
    second = (await seen.call("ingest", "POST", f"{path}/{made['id']}/secret", json={"overlap": 60})).json()
    seen.secrets |= {"inbound secret": made["secret"], "new inbound secret": second["secret"], "sender's secret": given}
    await seen.call("ingest", "POST", path, json={**hook, "name": "Given", "secret": given})
    await seen.call("ingest", "POST", path, json={**hook, "name": "Given", "secret": given})
    await seen.call("ingest", "POST", path, json={"name": "None", "secret": given, "mapping": MARK})
    for secret, n in ((made["secret"], "1"), (second["secret"], MARK), (wrong, "1")):
        body, headers = {"who": ANN, "n": n}, {"X-Secret": secret}
        await seen.call("ingest", "POST", made["path"], json=body, headers=headers)
    for read in (path, f"{path}/{made['id']}"):
        await seen.call("ingest", "GET", read)
    await _tracking_plan(seen, made["path"], {"X-Secret": second["secret"]})


async def _tracking_plan(seen: Watched, inbound: str, headers: dict[str, str]) -> None:
    """Events and a webhook that break a plan, and a replay of what was rejected."""
    schema = {"properties": {"n": {"type": "boolean"}, "h": {"type": "string"}}}
    plan = {"events": {name: {"mode": "refuse", "schema": schema} for name in ("Told", "Planned")}}
    await seen.call("ingest", "PUT", "/v1/tracking-plan", json=plan)
    await seen.call("ingest", "POST", "/v1/tracking-plan/publish")
    properties = {"h": MARK, "n": f"{MARK}-{ANN}"}
    answer = await seen.event(type="track", event="Planned", userId=ANN, properties=properties)
    assert answer.json()["results"][0]["status"] == "rejected"
    refused = await seen.call("ingest", "POST", inbound, json={"who": ANN, "n": "1"}, headers=headers)
    assert refused.status_code == 422
    await seen.call("ingest", "POST", "/v1/tracking-plan/pause")

    async def replayed() -> bool:
        page = await seen.call("ingest", "POST", "/v1/rejected/replay", json={"event": "Planned"})
        return [each["status"] for each in page.json()["items"]] == ["ok"]

    await eventually(replayed)
    for path in ("/v1/tracking-plan/violations", "/v1/rejected", "/v1/warnings"):
        await seen.call("ingest", "GET", path)


async def _sent(seen: Watched, hook: str) -> bool:
    """The second attempt was taken; it is made due at once."""
    connection = await asyncpg.connect(seen.five.dsn)
    await connection.execute("UPDATE triggers.deliveries SET next_at = now() WHERE attempts > 0 AND lease IS NULL")
    sent = await connection.fetchval("SELECT count(*) FROM triggers.deliveries WHERE state = 'sent'")
    await connection.close()
    return bool(sent)


async def _broken_requests(seen: Watched) -> None:
    key = seen.secrets["write key"]
    private = f'{{"userId": "{ANN}", "writeKey": "{key}", "traits": {{"name": "{MARK}"'
    for service, path in (("ingest", "/v1/track"), ("ingest", "/v1/batch"), ("ingest", "/v1/sources"),
                          ("rewards", "/v1/programmes"), ("triggers", "/v1/hooks")):  # fmt: skip
        token = key if path in ("/v1/track", "/v1/batch") else ""
        for body in (private, private + '}}"', f'["{MARK}"]', f'{{"name": "{MARK}", "earning": "{MARK}"}}'):
            await seen.call(service, "POST", path, token, content=body, headers={"content-type": "application/json"})
    await seen.event(type=MARK, userId=ANN, traits={"name": MARK})
    await seen.event(type="track", event="", userId=ANN, properties={"name": MARK})
    reason = {"points": -(10**6), "reason": MARK}
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    await seen.call("rewards", "POST", f"/v1/customers/user:{ANN}/adjustments", json=reason, headers=headers)
    expired = mint(KEYS[0], "marta", SCOPES, timedelta(hours=-1))
    seen.secrets["expired token"] = expired
    basic = b64encode(f"{key}:".encode()).decode()
    seen.secrets["write key in Basic"] = basic
    for service in seen.five.services:
        for token in (key, expired, seen.staff[:-3], seen.customer):
            await seen.call(service, "GET", f"/v1/{service}/dead-letters", token)
        await seen.call(service, "GET", f"/v1/nothing/{key}", headers={"authorization": f"Basic {basic}"})
        await seen.call(service, "GET", f"/v1/nothing?token={seen.staff}")


async def _dead_letters(seen: Watched) -> None:
    """An amount that is none is refused by profile; what it was is for who may read dead letters, and nobody else."""
    bad = {"order_id": f"{MARK}-2", "revenue": f"{MARK} lots", "note": MARK}
    await seen.event(type="track", event="Order Completed", userId=ANN, properties=bad)

    async def dead() -> bool:
        page = await seen.call("profile", "GET", "/v1/profile/dead-letters")
        return bool(page.json()["items"])

    await eventually(dead)
    await seen.call("profile", "POST", "/v1/profile/dead-letters/replay")


async def _no_database(seen: Watched, postgres: Postgres) -> None:
    """Connections are cut and no new ones let in, until each service has noticed; then all is well again."""
    name = urlsplit(seen.five.dsn).path.strip("/")
    operator = await asyncpg.connect(postgres.dsn("rapport"))
    try:
        await operator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        paths = {
            "ingest": f"/v1/projects/{seen.secrets['second write key']}/settings",
            "profile": f"/v1/customers/user:{ANN}",
            "rewards": f"/v1/customers/user:{ANN}/points",
            "triggers": f"/v1/customers/anon:{MARK}-device/inbox",
            "metrics": f"/v1/customers/user:{ANN}/score",
        }
        for service, path in paths.items():
            answer = await seen.call(service, "GET", path)
            assert answer.status_code == 503, answer.text
            await seen.call(service, "GET", "/readyz?verbose")
        assert (await seen.event(type="identify", userId=ANN, traits={"name": MARK})).status_code == 503
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        body = {"points": 1, "reason": MARK}
        await seen.call("rewards", "POST", f"/v1/customers/user:{ANN}/adjustments", json=body, headers=headers)
    finally:
        await operator.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        await operator.close()
    await asyncio.gather(*(service.ready() for service in seen.five.services.values()))


def test_the_days_were_as_bad_as_they_should_be(watched: Watched) -> None:
    assert {200, 201, 400, 401, 403, 404, 409, 422, 503} <= {answer.status_code for answer in watched.answers}
    printed = "".join(watched.printed().values())
    for said in ("record dead-lettered", "a request met an unavailable part", '"level":"debug"'):
        assert said in printed


def test_no_secret_is_printed(watched: Watched) -> None:
    for service, printed in watched.printed().items():
        for what, secret in watched.secrets.items():
            assert secret not in printed, _where(service, what, secret, printed)


def test_nothing_private_is_printed(watched: Watched) -> None:
    for service, printed in watched.printed().items():
        assert MARK not in printed, _where(service, "private", MARK, printed)


def test_secrets_are_answered_once_to_who_made_them(watched: Watched) -> None:
    shown_in = {
        "write key": [("POST", "/v1/sources"), ("GET", "/settings")],
        "second write key": [("POST", "/keys"), ("GET", "/settings")],
        "webhook's secret": [("POST", "/v1/hooks")],
        "inbound secret": [("POST", "/hooks")],
        "new inbound secret": [("POST", "/secret")],
        "ticket": [("POST", "/tickets")],
        "confirmation": [("POST", "/requests")],
    }
    for what, secret in watched.secrets.items():
        for answer in watched.answers:
            if secret in answer.text:
                asked = (answer.request.method, answer.request.url.path)
                assert answer.is_success
                assert any(asked[0] == method and asked[1].endswith(path) for method, path in shown_in.get(what, ())), (
                    what,
                    asked,
                )
        assert all(secret not in str(answer.headers) for answer in watched.answers)


def test_nothing_private_is_in_a_problem_or_among_the_metrics(watched: Watched) -> None:
    for answer in watched.answers:
        path = answer.request.url.path
        if answer.is_error or path in ("/metrics", "/readyz", "/livez"):
            said = re.sub(rf"(user:|anon:){MARK}[\w@.-]*", "the name that was asked for", answer.text)
            assert MARK not in said, f"{answer.request.method} {path}: {said}"


async def test_the_brokers_password_is_not_printed(tmp_path: Path, postgres: Postgres, template: str) -> None:
    """Brokers that are away, and one that hangs up on everybody."""
    dsn = postgres.create_database(f"doors_{uuid.uuid4().hex}", template=template)
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        hung_up = asyncio.Event()

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(64)
            writer.close()
            hung_up.set()  # noqa: B023 - of this round

        broker = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = broker.sockets[0].getsockname()[1]
        secret = f"the-brokers-{uuid.uuid4().hex}"
        service = Service(
            "ingest", dsn, tmp_path / mechanism, RAPPORT_LOG="kafka", RAPPORT_LOG_LEVEL="debug",
            RAPPORT_KAFKA_BOOTSTRAP=f"127.0.0.1:{free_port()},127.0.0.1:{port}", RAPPORT_KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT",
            RAPPORT_KAFKA_SASL_MECHANISM=mechanism, RAPPORT_KAFKA_SASL_USERNAME="rapport", RAPPORT_KAFKA_SASL_PASSWORD=secret,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                await hung_up.wait()
            await eventually(lambda: _waits(service))  # noqa: B023 - awaited at once
            async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
                for path in ("/readyz?verbose", "/readyz", "/metrics", "/v1/rejected"):
                    assert secret not in (await client.get(path)).text
        finally:
            service.stop()
            broker.close()
        assert secret not in service.printed()


async def _waits(service: Service) -> bool:
    return "waiting for a dependency" in service.printed()


def _where(service: str, what: str, secret: str, printed: str) -> str:
    at = printed.index(secret)
    return f"{what} of {service}: …{printed[max(0, at - 300) : at + 200]}…"
