"""What ingest tells an operator: outcomes in /metrics, and an outage in a few lines of log."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.postgres import Postgres
from tests.integration.ingest.conftest import Ingest, add_source, new_database

TRIES = 20


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Postgres]:
    running = Postgres(tmp_path / "home", fsync=False)
    running.start()
    yield running
    running.stop()


async def counted(service: Ingest) -> dict[tuple[str, ...], float]:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        text = (await client.get("/metrics")).text
    families = text_string_to_metric_families(text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


async def test_outcomes_are_counted_and_an_outage_is_a_few_lines(server: Postgres, tmp_path: Path) -> None:
    log = tmp_path / "log"
    service = Ingest(await new_database(server), log, RAPPORT_INGEST_APPEND_DEADLINE="2")
    try:
        await service.ready()
        source = await add_source(service)
        doubtful = {"type": "track", "event": "Order Completed", "userId": "ann"}
        batch = [{"type": "track", "event": "X", "userId": "ann", "messageId": "m"}, doubtful, {"type": "track"}]
        assert (await source.post("/v1/batch", {"batch": batch})).status_code == 200
        assert (await source.post("/v1/track", b"{")).status_code == 400
        found = await counted(service)
        outcomes = {outcome: found["rapport_ingest_events_total", outcome] for outcome in ("ok", "warning", "rejected")}
        assert outcomes == {"ok": 1, "warning": 1, "rejected": 2}
        assert found["rapport_ingest_shed_total", "postgres_away"] == 0

        server.kill()
        for number in range(TRIES):
            answer = await source.post("/v1/track", {"event": "X", "userId": "ann", "messageId": f"m{number}"})
            assert answer.status_code == 503
        found = await counted(service)
        shed = {name[1]: times for name, times in found.items() if name[0] == "rapport_ingest_shed_total" and times}
        assert sum(shed.values()) == TRIES
        assert shed.keys() <= {"postgres_away", "timeout"}
        assert found["rapport_ingest_events_total", "ok"] == 1
    finally:
        service.stop()
    said = [line["event"] for line in map(json.loads, log.read_text().splitlines())]
    assert 0 < said.count("answered") <= 2
    assert 0 < said.count("events cannot be stored") <= 2
    assert len(said) < TRIES
