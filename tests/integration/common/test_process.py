"""A service as a process: signals, exit codes, wrong settings."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.client import ready
from tests.conftest import free_port
from tests.support import eventually

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(**variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The tiny service as a process of its own, with `RAPPORT_` variables."""
    clean: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith("RAPPORT_")}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.common.tiny",
        cwd=ROOT,
        env={**clean, **{f"RAPPORT_{name}": value for name, value in variables.items()}},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_sigterm_drains_and_ends_with_0() -> None:
    port = free_port()
    async with (
        process(PORT=str(port), DRAIN_SECONDS="1.5") as service,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        await eventually(lambda: _up(client))
        service.send_signal(signal.SIGTERM)

        async def draining() -> bool:
            response = await client.get("/readyz")
            return response.status_code == 503 and response.json()["status"] == "draining"

        await eventually(draining)
        out, err = await service.communicate()
        assert service.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["event"] for line in lines] == ["ready", "draining", "stopped"]
    assert {line["service"] for line in lines} == {"tiny"}


async def test_a_request_that_has_begun_is_finished() -> None:
    port = free_port()
    async with (
        process(PORT=str(port)) as service,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        await eventually(lambda: _up(client))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/things/slow HTTP/1.1\r\nhost: x\r\n\r\n")

        async def in_flight() -> bool:
            return bool((await client.get("/v1/things/waiting")).json())

        await writer.drain()
        await eventually(in_flight)
        service.send_signal(signal.SIGTERM)
        answer = await reader.read()
        writer.close()
        assert b"200 OK" in answer
        assert b'{"finished":"yes"}' in answer
        assert await service.wait() == 0


async def _up(client: httpx.AsyncClient) -> bool:
    try:
        return await ready(client)
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"PORT": "eighty"}, "tiny: RAPPORT_PORT is wrong: Input should be a valid integer"),
        ({"TINY_POOL_SIZE": "1"}, "tiny: RAPPORT_TINY_POOL_SIZE is wrong: Input should be greater than or equal to 3"),
        ({"JWT_PUBLIC_KEY": "x"}, "tiny: RAPPORT_JWT_PUBLIC_KEY is no Ed25519 public key"),
        ({"JWT_PUBLIC_KEY_FILE": "/nowhere"}, "tiny: RAPPORT_JWT_PUBLIC_KEY_FILE names /nowhere, which cannot be read"),
    ],
)
async def test_a_wrong_setting_is_named_in_one_sentence(variables: dict[str, str], sentence: str) -> None:
    async with process(**variables) as service:
        _, err = await service.communicate()
    assert service.returncode == 2
    assert err.decode().startswith(sentence)
    assert err.count(b"\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has parent death signals")
async def test_a_service_ends_with_the_process_that_started_it() -> None:
    port = free_port()
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-m', 'tests.integration.common.tiny']);"
        " time.sleep(600)"
    )
    runner = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        cwd=ROOT,
        env={**os.environ, "RAPPORT_PORT": str(port), "RAPPORT_DIE_WITH_PARENT": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        await eventually(lambda: _up(client))
        runner.kill()
        out, _ = await runner.communicate()  # to the end of the service, which has the other end of the pipe
    assert b'"stopped"' in out
