"""A service's life: up at once, ready when what it needs is there, drained before it ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from pydantic import SecretStr

from libs.common.db.pool import Database
from libs.common.observability.telemetry import Meter
from libs.common.runtime.component import Check, ReaderLag
from libs.common.runtime.postgres import Postgres
from libs.common.settings import Settings
from tests.client import ready, running
from tests.conftest import free_port
from tests.integration.common import tiny
from tests.support import eventually


class Far:
    """A component that needs somebody to listen on a port."""

    def __init__(self, name: str, port: int, story: list[str]) -> None:
        self.name = name
        self.port = port
        self.story = story
        self.death = ""

    async def start(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()
        self.story.append(f"start {self.name}")

    async def stop(self) -> None:
        self.story.append(f"stop {self.name}")

    async def check(self) -> Check:
        return Check(True, "listens", (ReaderLag("rewards", "profile.journal", 7, 1.5),))

    def died(self) -> str:
        return self.death


class Stuck(Far):
    async def check(self) -> Check:
        await asyncio.Event().wait()
        return Check(True)


class Concerned(Far):
    async def check(self) -> Check:
        return Check(True, concerns=("partition 3 has stopped",))


@asynccontextmanager
async def listening(port: int) -> AsyncIterator[None]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with server:
        yield


async def test_the_port_is_up_while_a_dependency_is_away_and_all_works_once_it_comes() -> None:
    story: list[str] = []
    port = free_port()
    parts = [Far("broker", port, story), Far("fold", port, story)]
    async with running(tiny.create(Settings(), parts)) as client:
        assert (await client.get("/livez")).status_code == 200
        refused = await client.get("/v1/things/open")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        await eventually(lambda: _says(client, "broker: ConnectionRefusedError"))
        readiness = await client.get("/readyz")
        assert readiness.status_code == 503
        assert readiness.json()["status"] == "not ready"
        assert "ConnectionRefusedError" in readiness.json()["checks"]["broker"]["detail"]
        assert readiness.json()["checks"]["fold"] == {"ok": False, "detail": "not started yet"}
        assert "waiting for broker" in (await client.get("/v1/things/open")).json()["detail"]
        assert (await client.get("/docs")).status_code == 200
        async with listening(port):
            await eventually(lambda: ready(client))
        assert (await client.get("/v1/things/open")).status_code == 200
    assert story == ["start broker", "start fold", "stop fold", "stop broker"]


async def _says(client: httpx.AsyncClient, sentence: str) -> bool:
    return sentence in (await client.get("/readyz")).json()["detail"]


async def test_readiness_tells_machines_and_people_how_far_it_is_behind() -> None:
    port = free_port()
    async with listening(port), running(tiny.create(Settings(), [Far("fold", port, [])])) as client:
        await eventually(lambda: ready(client))
        assert (await client.get("/healthz")).json() == {
            "status": "ready",
            "service": "tiny",
            "detail": "Ready.",
            "checks": {"fold": {"ok": True, "detail": "listens"}},
            "lag": {"records": 7, "seconds": 1.5},
            "readers": [{"reader": "rewards", "topic": "profile.journal", "records": 7, "seconds": 1.5}],
            "concerns": [],
        }
        assert (await client.get("/readyz?verbose")).text == (
            "tiny is ready.\nWell: fold (listens).\n"
            "It has still to read 7 records of profile.journal; the oldest has waited 2 seconds.\nWhat to do: nothing.\n"
        )


async def test_what_needs_a_person_is_said_though_the_service_is_ready() -> None:
    port = free_port()
    async with listening(port), running(tiny.create(Settings(), [Concerned("fold", port, [])])) as client:
        await eventually(lambda: ready(client))
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (200, "Ready, but partition 3 has stopped")
        people = (await client.get("/readyz?verbose")).text
        assert "Needs a person: partition 3 has stopped.\n" in people
        assert "What to do: Look at each" in people


async def test_what_is_missing_is_said_with_what_to_do() -> None:
    async with running(tiny.create(Settings(), [Far("fold", free_port(), []), Far("sender", 1, [])])) as client:
        await eventually(lambda: _says(client, "fold: ConnectionRefusedError"))
        people = (await client.get("/readyz?verbose")).text
    assert people.startswith("tiny is not ready.\nMissing: fold, because ConnectionRefusedError")
    assert "Missing: sender, because not started yet.\n" in people
    assert people.count("docs/operations.md") == 1


async def test_metrics_say_which_part_is_ready() -> None:
    port = free_port()
    parts = [Far("fold", port, []), Far("sender", free_port(), [])]
    async with listening(port), running(tiny.create(Settings(), parts)) as client:

        async def told() -> bool:
            text = (await client.get("/metrics")).text
            return all(f'rapport_component_ready{{component="{name}"}} {ok}' in text for name, ok in wanted.items())

        wanted = {"fold": "1.0", "sender": "0.0"}
        await eventually(told)


async def test_a_check_that_hangs_is_an_answer_too() -> None:
    port = free_port()
    parts = [Stuck("fold", port, []), Far("sender", port, [])]
    async with listening(port), running(tiny.create(Settings(), parts)) as client:
        await eventually(lambda: _says(client, "fold: no answer within 2 seconds"))
        assert (await client.get("/readyz")).json()["checks"]["sender"]["ok"]
        assert (await client.get("/livez")).status_code == 200


class Wrong(Far):
    async def start(self) -> None:
        raise ValueError("RAPPORT_X is not set")


async def test_a_part_that_never_can_start_is_not_tried_again_but_said() -> None:
    parts = [Wrong("fold", 1, []), Far("sender", 1, [])]
    app = tiny.create(Settings(), parts)
    failed = asyncio.Event()
    app.state.lifecycle.on_failure = lambda _: failed.set()
    async with running(app) as client:
        await failed.wait()
        live = await client.get("/livez")
        assert (live.status_code, live.json()["detail"]) == (503, "fold: cannot start: RAPPORT_X is not set")
        assert "fold: cannot start: RAPPORT_X is not set" in (await client.get("/readyz")).json()["detail"]


async def test_a_task_that_died_is_a_reason_to_be_restarted() -> None:
    port = free_port()
    part = Far("fold", port, [])
    async with listening(port), running(tiny.create(Settings(), [part])) as client:
        await eventually(lambda: ready(client))
        part.death = "the fold of partition 3 has ended: KeyError"
        live = await client.get("/livez")
        assert (live.status_code, live.json()["detail"]) == (503, part.death)
        assert not await ready(client)


async def test_postgresql_away_is_named_with_its_address_and_without_its_password() -> None:
    away = Settings(database_url=SecretStr("postgresql://rapport:secret@127.0.0.1:1/none"))
    async with running(tiny.create(away, [Postgres(away, "log", Meter("tiny"))])) as client:
        await eventually(lambda: _says(client, "PostgreSQL cannot be reached (postgresql://rapport@127.0.0.1:1/none)"))


async def test_a_log_with_another_number_of_partitions_is_refused(settings: Settings) -> None:
    other = settings.model_copy(update={"partitions": 3})
    async with running(tiny.create(other, [Postgres(other, "log", Meter("tiny"))])) as client:
        await eventually(lambda: _says(client, "set RAPPORT_PARTITIONS=8"))


async def test_postgresql_restarted_connections_are_made_anew(settings: Settings, database: Database) -> None:
    app = tiny.create(settings, [])
    part = Postgres(settings, "log", app.state.meter)
    app.state.lifecycle.components = [part]
    async with running(app) as client:
        await eventually(lambda: ready(client))
        assert 'rapport_pool_connections{state="most"} 8.0' in (await client.get("/metrics")).text
        async with database.connection() as tx:
            await tx.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'rapport-log' AND datname = current_database()"
            )
        await eventually(lambda: ready(client))


async def test_a_blocked_loop_is_seen() -> None:
    app = tiny.create(Settings())  # not begun, so that nothing beats
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tiny") as client:
        assert (await client.get("/livez")).status_code == 200
        app.state.lifecycle.heartbeat = time.monotonic() - 6
        response = await client.get("/livez")
    assert response.status_code == 503
    assert "the event loop was blocked for 6" in response.json()["detail"]
