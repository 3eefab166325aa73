"""Ids that identify nobody: everywhere, and in this workspace alone."""

import asyncpg
import httpx

from tests.integration.ingest.conftest import ADMIN, Ingest, Source
from tests.support import eventually


async def test_a_workspace_adds_its_own(source: Source, client: httpx.AsyncClient) -> None:
    before = (await client.get("/v1/blocked-ids", headers=ADMIN)).json()
    assert "guest" in before["defaults"]
    changed = await client.put("/v1/blocked-ids", json={"values": [" Kiosk-7 ", "kiosk-7", "Till"]}, headers=ADMIN)
    assert changed.json()["values"] == ["kiosk-7", "till"]
    try:
        sent = {"event": "Seen", "userId": "KIOSK-7", "anonymousId": "a1", "messageId": "m1"}
        (result,) = (await source.post("/v1/track", sent)).json()["results"]
        assert (result["status"], "identifies nobody" in result["reason"]) == ("warning", True)
        (event,) = await source.events()
        assert (event.get("userId"), event["anonymousId"]) == (None, "a1")
    finally:
        restored = await client.put("/v1/blocked-ids", json={"values": before["values"]}, headers=ADMIN)
    assert restored.json() == before
    (result,) = (await source.post("/v1/track", sent)).json()["results"]
    assert result["status"] == "ok"


async def test_another_process_learns_of_it(ingest: Ingest, source: Source, client: httpx.AsyncClient) -> None:
    """As if it had been written there."""
    connection = await asyncpg.connect(ingest.dsn)
    await connection.execute("INSERT INTO ingest.blocked_ids VALUES ('counter-3')")

    async def blocked() -> bool:
        sent = {"event": "Seen", "userId": "counter-3", "anonymousId": "a1"}
        answer = await source.post("/v1/track", sent)
        return "identifies nobody" in answer.json()["results"][0]["reason"]

    await eventually(blocked)
    await connection.execute("DELETE FROM ingest.blocked_ids")
    await connection.close()


async def test_what_cannot_be_blocked(client: httpx.AsyncClient) -> None:
    for values in (["  "], ["x" * 300], [7], "kiosk", ["x"] * 1_001):
        answer = await client.put("/v1/blocked-ids", json={"values": values}, headers=ADMIN)
        assert answer.status_code == 422, values
