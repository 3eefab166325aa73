"""A service as a process of its own, as an operator runs it, for tests to attack, stop and start again."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.conftest import INSTALLATION_KEY, KEYS, free_port
from tests.support import eventually

ROOT = Path(__file__).parents[1]


class ServiceProcess:
    """`python -m services.<name>` on a free port; what it prints is kept in `log`."""

    def __init__(self, name: str, dsn: str, log: Path, **environment: str) -> None:
        self.name = name
        self.dsn = dsn
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        self.environment = {
            **os.environ,
            "RAPPORT_DATABASE_URL": dsn,
            "RAPPORT_PORT": str(self.port),
            "RAPPORT_JWT_PUBLIC_KEY": KEYS[1],
            "RAPPORT_INSTALLATION_KEY": INSTALLATION_KEY,
            "RAPPORT_DIE_WITH_PARENT": "1",
            **environment,
        }
        self.process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            argv = [sys.executable, "-m", f"services.{self.name}"]
            return subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=log, stderr=log)

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    async def ready(self) -> None:
        """Wait until it says so. AssertionError, with the end of what it printed, when it has ended instead."""
        async with httpx.AsyncClient(base_url=self.url, timeout=5) as client:

            async def says() -> bool:
                assert self.process.poll() is None, self.printed()[-3000:]
                try:
                    return (await client.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(says, within=110)

    async def start_again(self, **environment: str) -> None:
        """After its end: a new process on the same port and database, ready."""
        self.environment |= environment
        self.process = self._spawn()
        await self.ready()

    async def ended(self) -> int:
        """Wait until it has ended by itself; its exit code. AssertionError if it has not after a minute."""

        async def over() -> bool:
            return self.process.poll() is not None

        await eventually(over)
        return self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what has not ended after 15 seconds."""
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
