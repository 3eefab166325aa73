"""`make bench`: a table of the platform's speed, each figure beside the bare limit measured in the same run."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import httpx
import uvloop

from deploy.demo.api import Api
from deploy.local.platform import Platform
from deploy.local.ports import HOST, free_base
from tests.bench.load import Load, drive, request
from tests.e2e.test_loop import HOOK, PROGRAMME
from tests.support import eventually

SINGLES = 20_000
BATCHES = 400
VISIBLE = 500
Row = tuple[str, str, str, str]


def order(number: int) -> dict[str, object]:
    """An order of about 500 bytes, from one of 2,000 customers."""
    customer = f"user-{number % 2000}"
    return {
        "type": "track",
        "event": "Order Completed" if number % 5 == 0 else "Product Viewed",
        "userId": customer,
        "anonymousId": f"browser-{customer}",
        "messageId": uuid.uuid4().hex,
        "timestamp": datetime.now(UTC).isoformat(),
        "properties": {"order_id": uuid.uuid4().hex, "revenue": 10 + number % 90, "currency": "USD", "path": "/p" * 40},
        "context": {"library": {"name": "bench", "version": "1"}, "page": {"url": "https://shop.example/p/1"}},
    }


class Bench:
    def __init__(self, platform: Platform, api: Api) -> None:
        self.platform, self.api = platform, api
        self.port = int(platform.urls["ingest"].rsplit(":", 1)[1])
        self.auth = "Basic " + b64encode(f"{platform.tokens['write_key']}:".encode()).decode()
        self.rows: list[Row] = []

    async def run(self) -> None:
        programme = await self.api.post("rewards", "/v1/programmes", PROGRAMME)
        await self.api.post("rewards", f"/v1/programmes/{programme['id']}/publish")
        hook = await self.api.post("triggers", "/v1/hooks", HOOK)
        await self.api.post("triggers", f"/v1/hooks/{hook['id']}/publish")
        await self.visible()
        await self.caught_up()
        await self.end_to_end()
        async with alone(self.platform) as (port, auth):
            await self.singles(port, auth)
            await self.batches(port, auth)

    async def caught_up(self) -> None:
        async def done() -> bool:
            return await self.api.lag() == 0

        await eventually(done, within=600)
        await eventually(done, within=600)

    async def singles(self, port: int, auth: str) -> None:
        """Durable single events at 64 connections against the raw ASGI echo of the same bodies."""
        bodies = [json.dumps(order(number)).encode() for number in range(SINGLES)]
        echo_port = free_base()
        echo = subprocess.Popen([sys.executable, "-m", "tests.bench.echo", str(echo_port)])
        try:
            await eventually(lambda: _listens(echo_port))
            bare = await drive(HOST, echo_port, (request("/v1/track", body) for body in bodies), 64)
        finally:
            echo.terminate()
            echo.wait()
        ours = await drive(HOST, port, (request("/v1/track", body, auth) for body in bodies), 64)
        self._row("ingest alone, single events/s, 64 connections", ours.rate, "raw ASGI echo", bare.rate)

    async def batches(self, port: int, auth: str) -> None:
        """Batches of 100, one process, against COPY of the same bytes from one connection."""
        bodies = _bodies()
        copied = await self._copied(bodies)
        ours = await drive(HOST, port, (request("/v1/batch", body, auth) for body in bodies), 16)
        self._row("ingest alone, batches of 100, events/s", ours.rate * 100, "COPY", copied)

    async def end_to_end(self) -> None:
        """Batches of 100 from the first POST until all five services have caught up."""
        bodies = _bodies()
        copied = await self._copied(bodies)
        started = time.perf_counter()
        await drive(HOST, self.port, (request("/v1/batch", body, self.auth) for body in bodies), 16)
        await self.caught_up()
        self._row("all five end to end, events/s", BATCHES * 100 / (time.perf_counter() - started), "COPY", copied)

    def _row(self, measure: str, rate: float, limit: str, bare: float) -> None:
        self.rows.append((measure, f"{rate:,.0f}", f"{limit} {bare:,.0f}", f"{rate / bare:.3f}"))

    async def visible(self) -> None:
        """From POST to points that GET shows, 100 single events a second."""
        load = Load()
        token = {"authorization": f"Bearer {self.platform.tokens['marketer']}"}
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=200)) as client:

            async def once() -> None:
                user = uuid.uuid4().hex
                body = {**order(0), "userId": user, "anonymousId": f"b-{user}"}
                started = time.perf_counter()
                answer = await client.post(
                    f"{self.platform.urls['ingest']}/v1/track", json=body, headers={"authorization": self.auth}
                )
                answer.raise_for_status()
                url = f"{self.platform.urls['rewards']}/v1/customers/user:{user}/points"
                while (await client.get(url, headers=token)).status_code != 200:
                    await asyncio.sleep(0.01)  # the asking costs as much as what is asked about
                load.delays.append(time.perf_counter() - started)

            tasks = []
            for _ in range(VISIBLE):
                tasks.append(asyncio.create_task(once()))
                await asyncio.sleep(0.01)
            await asyncio.gather(*tasks)
        p50, p99 = load.quantile(0.5) * 1000, load.quantile(0.99) * 1000
        self.rows.insert(0, ("POST to visible points, 100 events/s, p50 / p99", f"{p50:.0f} / {p99:.0f} ms", "", ""))

    async def _copied(self, bodies: list[bytes]) -> float:
        """Events/s of a plain COPY of the same bytes from one connection."""
        connection = await asyncpg.connect(self.platform.dsn)
        await connection.execute("CREATE TEMP TABLE bare (value bytea)")
        events = [[json.dumps(event).encode()] for body in bodies for event in json.loads(body)["batch"]]
        started = time.perf_counter()
        for at in range(0, len(events), 500):
            await connection.copy_records_to_table("bare", records=events[at : at + 500])
        seconds = time.perf_counter() - started
        await connection.close()
        return len(events) / seconds


def _bodies() -> list[bytes]:
    return [json.dumps({"batch": [order(100 * n + i) for i in range(100)]}).encode() for n in range(BATCHES)]


@asynccontextmanager
async def alone(platform: Platform) -> AsyncIterator[tuple[int, str]]:
    """Ingest as one process on a database of its own, which nobody reads: its port, and how to authenticate."""
    if platform.postgres is None:
        raise RuntimeError("the platform is not running")
    port = free_base()
    dsn = await asyncio.to_thread(platform.postgres.create_database, "alone")
    env = {**platform.environment("ingest"), "RAPPORT_DATABASE_URL": dsn, "RAPPORT_PORT": str(port)}
    subprocess.run([sys.executable, "-m", "libs.common.migrate"], env=env, check=True, stdout=subprocess.DEVNULL)
    ingest = subprocess.Popen([sys.executable, "-m", "services.ingest"], env=env, stdout=subprocess.DEVNULL)
    try:
        url = f"http://{HOST}:{port}"
        token = {"authorization": f"Bearer {platform.tokens['operator']}"}
        async with httpx.AsyncClient() as client:

            async def ready() -> bool:
                return await _listens(port) and (await client.get(f"{url}/readyz")).status_code == 200

            await eventually(ready, within=60)
            source = (await client.post(f"{url}/v1/sources", json={"name": "bench"}, headers=token)).json()
        yield port, "Basic " + b64encode(f"{source['write_key']}:".encode()).decode()
    finally:
        ingest.terminate()
        ingest.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def table(rows: list[Row]) -> Iterator[str]:
    yield "| measure | here | bare limit, same run | ratio |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


async def main() -> None:
    home = Path(tempfile.mkdtemp(prefix="rapport-bench-"))
    try:
        async with Platform(home=home, port_base=free_base()) as platform, Api(platform) as api:
            bench = Bench(platform, api)
            await bench.run()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print("\n".join(table(bench.rows)))  # noqa: T201


if __name__ == "__main__":
    uvloop.run(main())
