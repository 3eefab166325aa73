"""A person is erased from all five services, each of which is killed in the middle: nothing that names them is left."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import jwt
import pytest
from pydantic import SecretStr

from deploy.local.postgres import Postgres
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.records import encode
from libs.common.db.pool import Database
from libs.common.fold.customers import NOBODY
from libs.common.log.append import Outgoing, append
from libs.common.replay.replayable import Replayable
from libs.common.replay.run import compared, replaying
from libs.common.replay.swap import swap
from libs.common.settings import Settings
from services.metrics import replay as metrics
from services.metrics.settings import Settings as MetricsSettings
from services.profile.erasure.certificate import AUDIENCE
from services.rewards import replay as rewards
from services.triggers import replay as triggers
from services.triggers.settings import Settings as TriggersSettings
from tests.client import token
from tests.conftest import CUSTOMER_KEYS, KEYS
from tests.doors.five import Five, start, stop
from tests.doors.seed import PROGRAMME
from tests.support import eventually, journal_record

pytestmark = pytest.mark.timeout(400)

#: In everything that the person does; nothing may hold it in the end.
MARK = f"zq{uuid.uuid4().hex[:12]}"
USER, BROWSER, OTHER_BROWSER = f"{MARK}-user", f"{MARK}-browser", f"{MARK}-other"
HOOK: dict[str, Any] = {
    "name": "Erased",
    "trigger": {"event": "Order Completed"},
    "action": {
        "channel": "inbox",
        "purpose": "service",
        "title": "Thanks",
        "text": "{{ customer.traits.name }}, {{ event.properties.order_id }}",
    },
    "limits": {"freshness": "1h", "history": True},
}
SEGMENT = {"name": "Buyers", "when": "count('Order Completed', days=90) >= 1"}
#: Every service dies once: profile at the command and at the end, the others when their log is redacted.
KILLS = "erasure.journalled=kill:1,erasure.redacted=kill:1,erasures.redacted=kill:1"


@pytest.fixture(scope="module")
async def five(postgres: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Five]:
    dsn = postgres.create_database(f"erasure_{uuid.uuid4().hex}", template=template)
    running = await start(dsn, tmp_path_factory.mktemp("erasure"), RAPPORT_FAILPOINTS=KILLS)
    try:
        yield running
    finally:
        await stop(running)


def settings(five: Five) -> Settings:
    return Settings(database_url=SecretStr(five.dsn), jwt_public_key=KEYS[1], customer_public_key=CUSTOMER_KEYS[1])


def said(user: str | None, device: str, what: str, **more: Any) -> dict[str, Any]:
    ids = {"anonymousId": device} | ({"userId": user} if user else {})
    return {"type": what, "messageId": f"{device}-{uuid.uuid4().hex}", **ids, **more}


def order(user: str, device: str, revenue: object = 60) -> dict[str, Any]:
    id = f"{device}-{uuid.uuid4().hex}"
    properties = {"order_id": id, "revenue": revenue, "currency": "USD", "note": f"for {user}"}
    return said(user, device, "track", event="Order Completed", properties=properties)


async def lived(five: Five) -> str:
    """A history of the person and of Bob. Returns the person's id."""
    source = await five.made("ingest", "/v1/sources", {"name": "shop"})
    five.write_key = source["write_key"]
    for service, path, body in (
        ("rewards", "/v1/programmes", PROGRAMME),
        ("triggers", "/v1/hooks", HOOK),
        ("profile", "/v1/segments", SEGMENT),
    ):
        made = await five.made(service, path, body)
        await five.made(service, f"{path}/{made['id']}/publish")
    email = f"{MARK}@example.com"
    await post(
        five,
        said(None, OTHER_BROWSER, "page", name=f"{MARK} page"),
        said(USER, BROWSER, "identify", traits={"email": email, "name": f"Ann {MARK}"}),
        order(USER, BROWSER),
        said(USER, OTHER_BROWSER, "identify", traits={"plan": MARK}),
        said(USER, BROWSER, "track", event="Looked", properties={"colour": [MARK]}),
        order(USER, OTHER_BROWSER, revenue="a lot"),
        {"type": "dance", "userId": USER, "properties": {"x": MARK}},
        {"type": "dance", "properties": {"email": email}},
        said("bob", "bobs", "identify", traits={"email": "bob@example.com", "name": "Bob"}),
        order("bob", "bobs"),
    )
    await eventually(lambda: settled(five))
    customer = (await five.call("profile", "GET", f"/v1/customers/user:{USER}")).json()
    assert customer["merged_from"]
    await poison(five, customer["id"])
    await five.made("rewards", f"/v1/customers/user:{USER}/adjustments", {"points": 5, "reason": f"for {MARK}"},
                    **{"Idempotency-Key": "adjust"})  # fmt: skip
    inbox = (await five.call("triggers", "GET", f"/v1/customers/user:{USER}/inbox")).json()["items"]
    assert MARK in inbox[0]["text"]
    await five.made("triggers", f"/v1/customers/user:{USER}/inbox/{inbox[0]['id']}/seen")
    await eventually(lambda: settled(five))
    id: str = customer["id"]
    return id


async def post(five: Five, *calls: dict[str, Any]) -> None:
    await five.made("ingest", "/v1/batch", {"batch": calls}, authorization=f"Bearer {five.write_key}")


async def settled(five: Five) -> bool:
    for service in five.services:
        if (await five.call(service, "GET", "/readyz")).json()["lag"]["records"]:
            return False
    return True


async def poison(five: Five, customer: str) -> None:
    """An order of the person that rewards and metrics cannot read."""
    data = {"type": "track", "messageId": MARK, "event": "Order Completed", "properties": {"revenue": "a lot"}}
    await appended(five, JOURNAL, journal_record(customer, data, id=str(uuid.uuid4())))


async def appended(five: Five, topic: str, record: Outgoing) -> None:
    database = await Database.connect(settings(five), "test")
    async with database.transaction() as tx:
        await append(tx, topic, [record], 8)
    await database.close()


def late(at: datetime) -> Outgoing:
    """An event of the person that was received before, and is in the log only now."""
    data = {"type": "track", "messageId": MARK, "event": "Looked", "userId": USER, "anonymousId": BROWSER}
    id = str(uuid.uuid4())
    value = encode(id=id, source="/apps/shop", type="track.v1", time=at, recordedtime=at, data=data)
    return Outgoing(BROWSER, value, at)


async def found(five: Five) -> dict[str, int]:
    """In which tables, of all schemas, the person is named, and in how many rows."""
    connection = await asyncpg.connect(five.dsn)
    try:
        tables = await connection.fetch(
            "SELECT schemaname AS schema, tablename AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        result = {}
        for schema, name in tables:
            rows = await connection.fetch(f'SELECT * FROM "{schema}"."{name}"')
            if count := sum(any(MARK in _text(value) for value in row.values()) for row in rows):
                result[f"{schema}.{name}"] = count
        return result
    finally:
        await connection.close()


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


async def erased(five: Five) -> dict[str, Any]:
    """Ask for the erasure, as somebody who does not give up."""
    headers = {**token(), "Idempotency-Key": "forget me"}

    async def answered() -> Any:
        await restarted(five)
        try:
            path = f"/v1/customers/user:{USER}/erasure"
            answer = await five.call("profile", "POST", path, json={"confirm": f"user:{USER}"}, headers=headers)
        except httpx.TransportError:
            return None
        assert answer.status_code in (202, 503), answer.text
        return answer.json() if answer.status_code == 202 else None

    result: dict[str, Any] = await eventually(answered)
    return result


async def restarted(five: Five) -> None:
    """Start the services again that have died: profile after the command, so that it dies at the end once more."""
    for name, service in five.services.items():
        if service.process.poll() is not None:
            died[name] += 1
            at_the_end = name == "profile" and died[name] == 1
            await service.start_again(RAPPORT_FAILPOINTS="erasure.redacted=kill:1" if at_the_end else "")


#: How often each service has died.
died: Counter[str] = Counter()


async def finished(five: Five, id: str) -> dict[str, Any]:
    async def done() -> Any:
        await restarted(five)
        try:
            erasure: dict[str, Any] = (await five.call("profile", "GET", f"/v1/erasures/{id}")).json()
        except httpx.TransportError:
            return None
        return erasure if erasure["status"] == "done" else None

    result: dict[str, Any] = await eventually(done, within=120)
    return result


async def test_nothing_is_left_of_an_erased_person(five: Five, tmp_path: Path) -> None:
    customer = await lived(five)
    before = await found(five)
    assert {
        "ingest.rejected", "log.ingest.events.0", "log.profile.journal.0", "log.rewards.facts.0", "profile.customers",
        "profile.dead_letters", "profile.identifiers", "profile.sections", "rewards.commands", "rewards.dead_letters",
        "rewards.entries", "rewards.identifiers", "triggers.deliveries", "triggers.last_events", "metrics.sections",
        "metrics.dead_letters", "metrics.identifiers",
    } <= before.keys()  # fmt: skip
    sums = await totals(five)

    erasure = await erased(five)
    again = await erased(five)
    assert (again["id"], again["customer"]) == (erasure["id"], customer)
    asked = datetime.fromisoformat(erasure["asked_at"])
    await appended(five, EVENTS, late(asked - timedelta(seconds=1)))
    gone = await five.call("profile", "GET", f"/v1/customers/{customer}")
    assert (gone.status_code, gone.json()["detail"]) == (404, f"the customer {customer} was erased")
    done = await finished(five, erasure["id"])

    assert died == {"profile": 2, "rewards": 1, "triggers": 1, "metrics": 1, "ingest": 1}
    assert await found(five) == {}
    assert not [file for file in five_logs(five) if MARK in file.read_text(errors="replace")]
    assert await totals(five) == sums
    stated = jwt.decode(done["certificate"], done["public_key"], ["EdDSA"], audience=AUDIENCE, issuer="rapport")
    assert MARK not in str(stated)
    assert stated["erasure"]["services"].keys() == {"ingest", "profile", "rewards", "triggers", "metrics"}
    counts = {name: each["erased"] for name, each in stated["erasure"]["services"].items()}
    assert counts["rewards"]["entries"] == before["rewards.entries"] == 4
    assert counts["ingest"]["rejected"] == 2
    assert counts["triggers"]["deliveries"] == 2  # one of the order that rewards and metrics cannot read
    assert all(service["log"] for service in counts.values() if service is not counts["metrics"])

    bob = (await five.call("profile", "GET", "/v1/customers/user:bob")).json()
    assert (bob["orders"], bob["traits"]["name"]) == (1, "Bob")
    assert (await five.call("rewards", "GET", "/v1/ledger/check")).json()["balanced"]
    for service in ("rewards", "triggers"):
        path = {"rewards": "adjustments", "triggers": "messages/off"}[service]
        body = {"points": 1, "reason": "late"} if service == "rewards" else None
        headers = {**token(), "Idempotency-Key": "late"}
        refused = await five.call(service, "POST", f"/v1/customers/{customer}/{path}", json=body, headers=headers)
        assert refused.status_code == 404, refused.text

    await appended(five, EVENTS, late(asked - timedelta(seconds=1)))  # as a retry that comes late
    await post(five, said(USER, BROWSER, "identify"))
    await eventually(lambda: settled(five))
    new = (await five.call("profile", "GET", f"/v1/customers/user:{USER}")).json()
    assert new["id"] != customer
    assert (new["orders"], new["traits"], new["merged_from"]) == (0, {}, [])
    timeline = (await five.call("profile", "GET", f"/v1/customers/user:{USER}/timeline")).json()["items"]
    assert [item["type"] for item in timeline] == ["identify.v1"]
    await eventually(lambda: known(five, "triggers", new["id"]))


async def known(five: Five, service: str, customer: str) -> bool:
    answer = await five.call(service, "GET", f"/v1/customers/user:{USER}/messages")
    return answer.status_code == 200 and answer.json()["customer"] == customer


async def totals(five: Five) -> Any:
    """Sums over all customers, which an erasure leaves as they are."""
    return [
        (await five.call("rewards", "GET", "/v1/rewards/summary")).json(),
        (await five.call("metrics", "GET", "/v1/kpis/revenue")).json()["total"],
        (await five.call("metrics", "GET", "/v1/kpis/orders")).json()["total"],
    ]


def five_logs(five: Five) -> list[Path]:
    return [service.log for service in five.services.values()]


async def test_a_replay_and_a_rebuild_give_the_state_after_an_erasure(five: Five) -> None:
    common = settings(five)
    sums = await totals(five)
    makes: list[Callable[[], Replayable[Any, Any]]] = [
        lambda: rewards.replayable(common),
        lambda: triggers.replayable(TriggersSettings(**common.model_dump())),
        lambda: metrics.replayable(MetricsSettings(**common.model_dump())),
    ]
    for replayable in makes:
        result = await compared(replayable(), common, common)
        differing = [table for table in result.tables if table.differing]
        assert (result.differing_facts, differing, result.first) == (0, [], [])
        async with replaying(replayable(), common, common, "rebuild", durable=True) as replay:
            await swap(replay)
    assert await totals(five) == sums
    assert (await five.call("rewards", "GET", "/v1/ledger/check")).json()["balanced"]
    (erasure,) = (await five.call("profile", "GET", "/v1/erasures")).json()["items"]
    for service in ("rewards", "triggers", "metrics"):
        body = {"customers": [erasure["customer"]], "identifiers": []}
        held = (await five.call(service, "POST", f"/v1/{service}/export", json=body)).json()["held"]
        rows = {table: rows for table, rows in held.items() if rows}
        assert rows.keys() == {"customers"}
        assert rows["customers"][0]["merged_into"] == str(NOBODY)
