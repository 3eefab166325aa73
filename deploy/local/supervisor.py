"""Starts parts layer by layer, restarts those that die, and stops all in reverse."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from deploy.local.errors import LocalError, StartFailed

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0  # seconds before a dead part is started again; doubled each time
STEADY = 30.0  # a part that ran for so many seconds counts as started
ASK_EVERY = 3.0  # seconds between two liveness checks; two failed ones in a row end the part


class Part(Protocol):
    """A process of its own: PostgreSQL, Kafka, a service. Its methods block, except `launch`."""

    name: str
    log: Path

    def prepare(self) -> None: ...
    def cancel(self) -> None: ...
    def launch(self) -> None: ...
    def wait_ready(self, deadline: float = 120) -> None: ...
    def exit_status(self) -> int | None: ...
    def unwell(self) -> str: ...
    def stop(self, deadline: float = 20) -> None: ...
    def kill(self) -> None: ...


class Supervisor:
    """Use from one event loop; `say` is called with a sentence whenever a part dies or comes back."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._layers: list[list[Part]] = []
        self._launched: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._returns: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(
            64, "supervisor"
        )  # one for every wait that can be left behind, and for every stop

    async def start(self, parts: Sequence[Part]) -> None:
        """Start the parts of a layer together, and wait until all are ready. Raises LocalError; the caller then calls `stop`."""
        self._layers.append(list(parts))
        await together(*(self._prepare(part) for part in parts))
        for part in parts:
            part.launch()
            self._launched[part.name] = time.monotonic()
        await together(*(self._wait(part.wait_ready) for part in parts))

    async def watch(self) -> None:
        """Restart parts that die or report that they cannot go on, with growing delays. Runs until cancelled."""
        await together(self._watch_processes(), self._watch_answers())

    async def stop(self) -> None:
        """Stop the layers in reverse, each part with a deadline of its own. If cancelled, kills the rest."""
        try:
            for task in self._returns:
                task.cancel()
            while self._layers:
                await asyncio.gather(*(self._wait(part.stop) for part in self._layers[-1]))
                self._layers.pop()
        except asyncio.CancelledError:
            parts = self._parts()
            for part in parts:
                part.kill()
            for part in parts:
                part.stop()
            self._layers.clear()
            raise

    def forget_failures(self) -> None:
        """Restart parts that end from now on as if they had never ended before: after the shortest delay."""
        self._failures.clear()

    def hold_back(self, name: str, seconds: float) -> None:
        """Restart a part that ends, or has ended, only this many seconds from now."""
        self._due[name] = time.monotonic() + seconds

    async def _watch_processes(self) -> None:
        while True:
            for part in self._parts():
                self._look_at(part)
            await asyncio.sleep(0.1)

    async def _watch_answers(self) -> None:
        suspected: set[str] = set()
        while True:
            await asyncio.sleep(ASK_EVERY)
            for part in self._parts():
                complaint = "" if part.exit_status() is not None else await self._ask(part)
                if complaint and part.name in suspected:
                    self._say(f"{part.name} cannot go on: {complaint}. Ending it.")
                    await self._wait(part.stop)
                suspected = suspected | {part.name} if complaint else suspected - {part.name}

    async def _ask(self, part: Part) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, part.unwell)

    async def _wait(self, blocking: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, blocking)

    def _parts(self) -> list[Part]:
        return [part for layer in self._layers for part in layer]

    async def _prepare(self, part: Part) -> None:
        """Prepare a part. If cancelled, waits for the preparation: `stop` must give back what it has taken."""
        work = asyncio.ensure_future(self._wait(part.prepare))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            part.cancel()
            with suppress(LocalError):
                await work
            raise

    def _look_at(self, part: Part) -> None:
        now, status = time.monotonic(), part.exit_status()
        if status is None or part.name not in self._launched:
            return
        if part.name not in self._due:
            steady = now - self._launched[part.name] > STEADY
            failures = 0 if steady else self._failures.get(part.name, 0)
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2**failures)
            self._failures[part.name] = failures + 1
            self._due[part.name] = now + delay
            self._say(f"{part.name} ended ({ending(status)}): starting it again in {delay:g} s. Its log: {part.log}")
        elif now >= self._due[part.name]:
            del self._due[part.name]
            part.launch()
            self._launched[part.name] = now
            task = asyncio.create_task(self._tell_return(part))
            self._returns.add(task)
            task.add_done_callback(self._returns.discard)

    async def _tell_return(self, part: Part) -> None:
        try:
            await self._wait(part.wait_ready)
        except StartFailed as error:
            self._say(str(error))
        else:
            self._say(f"{part.name} is back.")


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all. The first failure cancels the others, waits for them and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in work:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def ending(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return f"killed by {signal.Signals(-status).name}"
    return f"killed by signal {-status}"
