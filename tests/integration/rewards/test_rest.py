"""Doors: who may, what is not known, pages, dead letters; and the tables."""

import uuid
from typing import Any

from libs.common.contracts.records import Binding, Snapshot
from tests.client import token
from tests.integration.rewards.service import ANN, PROGRAMME, Rewards, order
from tests.support import journal_record

READS = (
    "customers/x/points", "customers/x/statement", "customers/x/badges", "customers/x/level", "programmes", "ledger",
    "rewards/summary",
)  # fmt: skip


async def test_every_route_wants_its_scope(rewards: Rewards) -> None:
    client = rewards.client
    del client.headers["Authorization"]
    for path in READS:
        assert (await client.get(f"/v1/{path}")).status_code == 401
        refused = await client.get(f"/v1/{path}", headers=token("rewards:write", "metrics:read"))
        assert refused.status_code == 403
        assert "rewards:read" in refused.json()["detail"]
    reader = token("rewards:read")
    for method, path in (
        ("POST", "programmes"),
        ("PUT", f"programmes/{uuid.uuid4()}"),
        ("POST", f"programmes/{uuid.uuid4()}/publish"),
        ("POST", f"customers/{ANN}/adjustments"),
    ):
        body = {"points": 1, "reason": "x"} if path.endswith("adjustments") else PROGRAMME
        refused = await client.request(method, f"/v1/{path}", json=body, headers={**reader, "Idempotency-Key": "k"})
        assert (refused.status_code, refused.json()["missing"]) == (403, ["rewards:write"])
    assert (await client.get("/v1/ledger/check", headers=reader)).status_code == 403
    assert (await client.get("/v1/ledger", headers=reader)).status_code == 200


async def test_unknown_customers_are_said_to_be_unknown(rewards: Rewards) -> None:
    nobody = str(uuid.uuid4())
    for ref in (nobody, "user:nobody", "anon:nothing"):
        for what in ("points", "statement", "badges", "level"):
            answer = await rewards.client.get(f"/v1/customers/{ref}/{what}")
            assert answer.status_code == 404
            assert answer.json()["detail"].startswith(f"no customer {ref} is known to rewards")
        assert (await rewards.adjust(ref, 5)).status_code == 404
    wrong = await rewards.client.get("/v1/customers/ann/points")
    assert wrong.status_code == 422
    assert "user:<userId>" in wrong.json()["detail"]
    assert await rewards.database.pool.fetchval("SELECT count(*) FROM rewards.customers") == 0


async def test_a_customer_without_points_has_zero(rewards: Rewards) -> None:
    hello = {"type": "identify", "messageId": "1", "userId": "ann", "traits": {}}
    who = Snapshot(id=ANN, bound=[Binding("user", "ann", 1)])
    await rewards.journal(journal_record(ANN, hello, id="1", type="identify.v1", snapshot=who))
    assert (await rewards.get("customers/user:ann/points"))["balance"] == 0
    assert (await rewards.get("customers/user:ann/statement"))["items"] == []
    assert (await rewards.get("customers/user:ann/badges"))["items"] == []
    assert (await rewards.get("customers/user:ann/level"))["level"] is None


async def test_a_statement_is_paged_without_gap_or_double(rewards: Rewards) -> None:
    await rewards.publish()
    await rewards.journal(
        order(ANN, "o0", 1, bound=[Binding("user", "ann", 1)]), *(order(ANN, f"o{n}", 1) for n in range(1, 23))
    )
    lines: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await rewards.get("customers/user:ann/statement", limit=5, **({"cursor": cursor} if cursor else {}))
        lines += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [line["balance"] for line in lines] == list(range(46, 0, -2))
    assert {line["order_id"] for line in lines} == {f"o{number}" for number in range(23)}


async def test_an_order_that_cannot_be_read_is_set_aside_and_can_be_mended(rewards: Rewards) -> None:
    await rewards.publish()
    await rewards.journal(order(ANN, "bad", "1e99"), order(ANN, "good", 10))
    assert (await rewards.get(f"customers/{ANN}/points"))["balance"] == 20
    (letter,) = (await rewards.get("rewards/dead-letters"))["items"]
    assert "is not an amount of money" in letter["error"]
    record = (await rewards.get(f"rewards/dead-letters/{letter['id']}"))["record"]
    mended = {**record["data"], "properties": {"order_id": "bad", "revenue": 5}}
    replayed = await rewards.client.post(f"/v1/rewards/dead-letters/{letter['id']}/replay", json={"data": mended})
    assert replayed.status_code == 200, replayed.text
    assert (await rewards.get(f"customers/{ANN}/points"))["balance"] == 30
    await rewards.check()
