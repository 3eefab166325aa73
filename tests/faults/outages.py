"""Faults of what everybody leans on: PostgreSQL, its connections, locks and disk, and Kafka."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Literal

import asyncpg
import psutil  # type: ignore[import-untyped]

from libs.common.db.errors import UNAVAILABLE
from tests.faults.faults import Fault, running
from tests.faults.stage import Stage


@dataclass(frozen=True)
class Server(Fault):
    """PostgreSQL is shut down fast, immediately, or killed; the supervisor starts it again."""

    how: Literal["fast", "immediate", "kill"]

    def __str__(self) -> str:
        return f"PostgreSQL {self.how}"

    async def strike(self, stage: Stage) -> None:
        async with stage.server_turn:
            stage.explained["postgres"] += 1
            pid = await running(stage, "postgres")
            number = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}[self.how]
            if self.how == "kill" and stage.platform.postgres:
                await asyncio.to_thread(
                    stage.platform.postgres.kill
                )  # with its children, as a machine takes them along
            else:
                await self._signal(stage, pid, number)
            await running(stage, "postgres", other_than=pid)

    async def _signal(self, stage: Stage, pid: int, number: int) -> None:
        """Again and again until it ends: one that has only just been started may miss it."""
        while stage.pid("postgres") == pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            await asyncio.sleep(1)


@dataclass(frozen=True)
class Hang(Fault):
    """PostgreSQL stands still with all its sessions, as in a paused virtual machine, and goes on."""

    seconds: float

    def __str__(self) -> str:
        return f"PostgreSQL hangs for {self.seconds:.1f} s"

    async def strike(self, stage: Stage) -> None:
        async with stage.server_turn:
            server = psutil.Process(await running(stage, "postgres"))
            stopped = [server, *server.children()]
            try:
                for process in stopped:
                    with suppress(psutil.NoSuchProcess):
                        process.suspend()
                await asyncio.sleep(self.seconds)
            finally:
                for process in stopped:
                    with suppress(psutil.NoSuchProcess):
                        process.resume()


@dataclass(frozen=True)
class Storm(Fault):
    """Every connection to PostgreSQL is terminated, time and again."""

    rounds: int

    def __str__(self) -> str:
        return f"{self.rounds} storms of terminated connections"

    async def strike(self, stage: Stage) -> None:
        for _ in range(self.rounds):
            try:
                connection = await stage.database()
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = current_user AND application_name <> 'faults'"
                )
                await connection.close()
            except UNAVAILABLE:  # another fault is at it
                await asyncio.sleep(0.2)
            await asyncio.sleep(0.25)


@dataclass(frozen=True)
class IdleTransaction(Fault):
    """Somebody's transaction holds rows that the services need, and does nothing."""

    rows: str
    seconds: float

    def __str__(self) -> str:
        return f"an idle transaction on {self.rows} for {self.seconds:.1f} s"

    async def strike(self, stage: Stage) -> None:
        try:
            connection = await stage.database()
            try:
                await connection.execute("BEGIN")
                await connection.execute(f"SELECT 1 FROM {self.rows} FOR UPDATE")
                await asyncio.sleep(self.seconds)
            finally:
                await connection.close()
        except UNAVAILABLE:
            return  # PostgreSQL went away under it: then nothing is held either


@dataclass(frozen=True)
class Broker(Fault):
    """Kafka is killed, and comes back after so many seconds."""

    away: float
    victim = "kafka"
    deaths: ClassVar[int] = 2  # one at a time

    def __str__(self) -> str:
        return f"Kafka killed, {self.away:.1f} s away"

    async def strike(self, stage: Stage) -> None:
        pid = await running(stage, "kafka")
        stage.explained["kafka"] += 1
        stage.hold_back("kafka", self.away)
        if stage.platform.kafka:
            await asyncio.to_thread(stage.platform.kafka.kill)
            await running(stage, "kafka", other_than=pid)
            await asyncio.to_thread(stage.platform.kafka.wait_ready)


@dataclass(frozen=True)
class FullDisk(Fault):
    """PostgreSQL's disk is full, to the last byte; with `log`, at the moment at which its write-ahead log needs more, so that
    PostgreSQL ends, and cannot start, until there is room."""

    seconds: float
    log: bool = False

    def __str__(self) -> str:
        return f"disk full {'under the WAL ' if self.log else ''}for {self.seconds:.1f} s"

    async def strike(self, stage: Stage) -> None:
        assert stage.disk is not None
        with _excused(stage, "postgres"):
            for _ in range(int(self.seconds / 0.2)):
                with suppress(OSError):
                    stage.disk.fill()
                if self.log:
                    await self._use_up(stage)
                await asyncio.sleep(0.2)
            stage.disk.free()
            await running(stage, "postgres")

    async def _use_up(self, stage: Stage) -> None:
        """Begin new segments of the log until none is left that was made beforehand."""
        with suppress(*UNAVAILABLE):
            connection = await asyncpg.connect(stage.superuser, timeout=2)
            try:
                for _ in range(10):
                    await connection.execute(
                        "SELECT pg_logical_emit_message(true, 'faults', 'x'); SELECT pg_switch_wal()"
                    )
            finally:
                connection.terminate()


@contextmanager
def _excused(stage: Stage, part: str) -> Iterator[None]:
    """However often the part dies meanwhile."""
    stage.explained[part] += 1000
    yield
