"""The faults of single processes. Each fault strikes, lasts, and has ended when `strike` returns."""

import asyncio
import os
import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from tests.faults.stage import Stage

#: Seconds in which a service passes an armed point, or else is not killed.
PASSED_WITHIN = 6.0


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

    async def after(self, stage: Stage) -> None:
        """What is still to be done once the platform is at rest: for most nothing."""
        return


@dataclass(frozen=True)
class Kill(Fault):
    """SIGKILL to a service, wherever it stands."""

    service: str

    deaths: ClassVar[int] = 1

    def __str__(self) -> str:
        return f"kill {self.service}"

    async def strike(self, stage: Stage) -> None:
        pid = await running(stage, self.service)
        stage.kill(self.service)
        await running(stage, self.service, other_than=pid)


@dataclass(frozen=True)
class KillAt(Fault):
    """SIGKILL by a service itself, at the `count`th passing of a point of its code."""

    service: str
    point: str
    count: int

    deaths: ClassVar[int] = 1

    def __str__(self) -> str:
        return f"kill {self.service} at {self.point}:{self.count}"

    async def strike(self, stage: Stage) -> None:
        armed = await running(stage, self.service)
        stage.explained[self.service] += 1
        stage.arm(self.service, f"{self.point}=kill:{self.count}")
        try:
            async with asyncio.timeout(PASSED_WITHIN):
                while stage.pid(self.service) == armed:  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return
        finally:
            stage.arm(self.service, "")  # before it is started again
        stage.reached.append(self.point)
        await running(stage, self.service, other_than=armed)


@dataclass(frozen=True)
class Freeze(Fault):
    """SIGSTOP, for longer than its locks last, then SIGCONT; with or without another process that takes over meanwhile."""

    service: str
    seconds: float
    replaced: bool = False

    def __str__(self) -> str:
        return f"freeze {self.service} for {self.seconds:.1f} s{' (replaced)' if self.replaced else ''}"

    async def strike(self, stage: Stage) -> None:
        pid = await running(stage, self.service)
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


async def running(stage: Stage, part: str, other_than: int | None = None) -> int:
    """The part's pid once it runs (as another process than before)."""
    async with asyncio.timeout(60):
        while (pid := stage.pid(part)) in (None, other_than):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.02)
    return pid or 0
