"""The faults that a run may meet. Each strikes, lasts, and has ended when `strike` returns."""

import asyncio
import os
import random
import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Literal

import asyncpg
import psutil  # type: ignore[import-untyped]

from deploy.local.ports import SERVICES
from tests.faults.stage import FOLDS, Stage

#: Longer than a service's PostgreSQL sessions may idle (3 s), wait for a lock or stay in a transaction (5 s).
PAST_EVERY_LOCK = 6.5
AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True)
class Fault(ABC):
    """Made of the run's chance by `pick`, told of by `str`."""

    @property
    def victim(self) -> str:
        """The service whose process it strikes; empty when none's."""
        return str(getattr(self, "service", ""))

    #: How many processes of that service it kills.
    deaths: ClassVar[int] = 0

    @abstractmethod
    async def strike(self, stage: Stage) -> None: ...


@dataclass(frozen=True)
class Kill(Fault):
    """SIGKILL to a service, wherever it stands."""

    service: str

    deaths: ClassVar[int] = 1

    def __str__(self) -> str:
        return f"kill {self.service}"

    async def strike(self, stage: Stage) -> None:
        pid = await _running(stage, self.service)
        stage.kill(self.service)
        await _running(stage, self.service, other_than=pid)


@dataclass(frozen=True)
class KillAt(Fault):
    """SIGKILL by a service itself, at the `count`th passing of a point of its code."""

    service: str
    point: str
    count: int

    deaths: ClassVar[int] = 2  # one to arm it

    def __str__(self) -> str:
        return f"kill {self.service} at {self.point}:{self.count}"

    async def strike(self, stage: Stage) -> None:
        await _running(stage, self.service)
        armed = await stage.rearm(self.service, RAPPORT_FAILPOINTS=f"{self.point}=kill:{self.count}")
        for _ in range(80):  # it passes the point when the workload makes it, or not at all
            await asyncio.sleep(0.1)
            if stage.pid(self.service) != armed:
                break
        else:
            stage.kill(self.service)
            return
        stage.explained[self.service] += 1
        stage.reached.append(self.point)


@dataclass(frozen=True)
class Freeze(Fault):
    """SIGSTOP, for longer than its locks last, then SIGCONT; with or without another process that takes over meanwhile."""

    service: str
    seconds: float
    replaced: bool = False

    def __str__(self) -> str:
        return f"freeze {self.service} for {self.seconds:.1f} s{' (replaced)' if self.replaced else ''}"

    async def strike(self, stage: Stage) -> None:
        pid = await _running(stage, self.service)
        second = stage.another(self.service, f"{self.service}-2") if self.replaced else None
        if second:
            second.launch()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            if stage.pid(self.service) == pid:
                os.kill(pid, signal.SIGCONT)
        if second:
            await asyncio.sleep(1)
            await asyncio.to_thread(second.stop)


@dataclass(frozen=True)
class Worker(Fault):
    """One more process of a service comes, takes its share, and goes: stopped, or killed."""

    service: str
    seconds: float
    end: Literal["stop", "kill"]

    deaths: ClassVar[int] = 1  # at the most

    def __str__(self) -> str:
        return f"a second {self.service} for {self.seconds:.1f} s ({self.end})"

    async def strike(self, stage: Stage) -> None:
        second = stage.another(self.service, f"{self.service}-2")
        second.launch()
        try:
            await asyncio.sleep(self.seconds)
            assert second.exit_status() is None, f"the second {self.service} ended by itself: see {second.log}"
        finally:
            await asyncio.to_thread(second.stop if self.end == "stop" else second.kill)


@dataclass(frozen=True)
class Server(Fault):
    """PostgreSQL is shut down fast, immediately, or killed; the supervisor starts it again."""

    how: Literal["fast", "immediate", "kill"]

    def __str__(self) -> str:
        return f"PostgreSQL {self.how}"

    async def strike(self, stage: Stage) -> None:
        stage.explained["postgres"] += 1
        pid = await _running(stage, "postgres")
        number = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}[self.how]
        if self.how == "kill" and stage.platform.postgres:
            await asyncio.to_thread(stage.platform.postgres.kill)  # with its children, as a machine takes them along
        else:
            os.kill(pid, number)
        await _running(stage, "postgres", other_than=pid)


@dataclass(frozen=True)
class Hang(Fault):
    """PostgreSQL stands still with all its sessions, as in a paused virtual machine, and goes on."""

    seconds: float

    def __str__(self) -> str:
        return f"PostgreSQL hangs for {self.seconds:.1f} s"

    async def strike(self, stage: Stage) -> None:
        server = psutil.Process(await _running(stage, "postgres"))
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
            except AWAY:  # another fault is at it
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
        except AWAY:
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
        pid = await _running(stage, "kafka")
        stage.explained["kafka"] += 1
        stage.hold_back("kafka", self.away)
        if stage.platform.kafka:
            await asyncio.to_thread(stage.platform.kafka.kill)
            await _running(stage, "kafka", other_than=pid)
            await asyncio.to_thread(stage.platform.kafka.wait_ready)


@dataclass(frozen=True)
class FullDisk(Fault):
    """PostgreSQL's disk is full, to the last byte."""

    seconds: float

    def __str__(self) -> str:
        return f"disk full for {self.seconds:.1f} s"

    async def strike(self, stage: Stage) -> None:
        assert stage.disk is not None
        with _excused(stage, "postgres"):
            for _ in range(int(self.seconds / 0.2)):
                stage.disk.fill()
                await asyncio.sleep(0.2)
            stage.disk.free()
            await _running(stage, "postgres")


@dataclass(frozen=True)
class Clock(Fault):
    """A running service's clock jumps, and jumps back."""

    service: str
    hours: int
    seconds: float

    def __str__(self) -> str:
        return f"the clock of {self.service} {self.hours:+} h for {self.seconds:.1f} s"

    async def strike(self, stage: Stage) -> None:
        stage.set_clock(self.service, self.hours * 3600.0)
        await asyncio.sleep(self.seconds)
        stage.set_clock(self.service, 0.0)


@contextmanager
def _excused(stage: Stage, part: str) -> Iterator[None]:
    """However often the part dies meanwhile."""
    stage.explained[part] += 1000
    yield


async def _running(stage: Stage, part: str, other_than: int | None = None) -> int:
    """The part's pid once it runs (as another process than before)."""
    async with asyncio.timeout(60):
        while (pid := stage.pid(part)) in (None, other_than):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.02)
    return pid or 0


FOLD_POINTS = ("fold.fenced", "fold.saved", "fold.appended", "fold.committed")
INGEST_POINTS = ("ingest.append", "ingest.appended")
ROWS = (
    "log.heads WHERE topic = 'profile.journal' AND partition < 4",
    "log.heads WHERE topic = 'rewards.facts'",
    "log.heads WHERE topic = 'ingest.events' AND partition IN (1, 5)",
    "rewards.customers",
    "profile.customers",
    "triggers.positions WHERE partition < 6",
    "metrics.positions",
)


def _kill_at(chance: random.Random) -> Fault:
    service = chance.choice(SERVICES)
    points = INGEST_POINTS if service == "ingest" else FOLD_POINTS
    return KillAt(service, chance.choice(points), chance.randint(1, 12))


#: How each kind is drawn, and how often against the others. The slow ones are rare.
KINDS: tuple[tuple[float, tuple[str, ...], Callable[[random.Random], Fault]], ...] = (
    (4, ("postgres", "kafka"), lambda chance: Kill(chance.choice(SERVICES))),
    (6, ("postgres", "kafka"), _kill_at),
    (1, ("postgres", "kafka"), lambda chance: KillAt("triggers", "delivery.sent", chance.randint(1, 3))),
    (2, ("kafka",), lambda chance: KillAt(chance.choice(FOLDS), "forwarder.sent", chance.randint(1, 8))),
    (1, ("postgres", "kafka"), lambda chance: Freeze(chance.choice(SERVICES), chance.uniform(3.5, PAST_EVERY_LOCK))),
    (1, ("postgres", "kafka"), lambda chance: Freeze(chance.choice(FOLDS), PAST_EVERY_LOCK, replaced=True)),
    (1, ("kafka",), lambda chance: Freeze("kafka", chance.uniform(1, 12))),
    (2, ("postgres", "kafka"), lambda chance: Worker(chance.choice(FOLDS), chance.uniform(2, 5), chance.choice(("stop", "kill")))),
    (3, ("postgres", "kafka"), lambda chance: Server(chance.choice(("fast", "immediate", "kill")))),
    (1, ("postgres", "kafka"), lambda chance: Hang(chance.uniform(1, 12))),
    (2, ("postgres", "kafka"), lambda chance: Storm(chance.randint(1, 8))),
    (2, ("postgres", "kafka"), lambda chance: IdleTransaction(chance.choice(ROWS), chance.uniform(1, 7))),
    (2, ("kafka",), lambda chance: Broker(chance.uniform(0.2, 4))),
    (0.3, ("kafka",), lambda chance: Broker(35.0)),
    (1.5, ("disk",), lambda chance: FullDisk(chance.uniform(1, 5))),
    (2, ("postgres", "kafka"), lambda chance: Clock(chance.choice(SERVICES), chance.choice((-1, 1)), chance.uniform(1, 4))),
)  # fmt: skip


def pick(chance: random.Random, log: str, disk: bool) -> list[tuple[float, Fault]]:
    """One to three faults, each with the second of the run at which it strikes.

    A service is killed twice at most: the third death on one record is the record's fault, and it would be buried.
    """
    allowed = {log, "disk"} if disk else {log}
    kinds = [(weight, draw) for weight, logs, draw in KINDS if allowed & set(logs)]
    count = chance.choice((1, 1, 2, 2, 3))
    deaths: Counter[str] = Counter()
    picked: list[tuple[float, Fault]] = []
    while len(picked) < count:
        (draw,) = chance.choices([draw for _, draw in kinds], [weight for weight, _ in kinds])
        fault, at = draw(chance), chance.uniform(0.0, 2.0)
        if deaths[fault.victim] + fault.deaths <= 2:
            deaths[fault.victim] += fault.deaths
            picked.append((at, fault))
    return sorted(picked, key=lambda each: each[0])
