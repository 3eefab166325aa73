"""The life of a service's components: started in order while the port is up already, stopped in reverse."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Unavailable
from libs.common.http import documentation, health
from libs.common.http.health import check, report
from libs.common.http.problems import Problems
from libs.common.observability.telemetry import Meter, log
from libs.common.runtime.backoff import Backoff
from libs.common.runtime.component import Check, Component, Worker

logger = log("lifecycle")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_STOP_SECONDS = 10.0
_BEAT = 0.5
_WATCH = 5.0


class Lifecycle:
    """Starts, watches and stops components. `draining` is set when the service is stopping: long answers
    (streams) should end then."""

    def __init__(self, service: str, components: Sequence[Component], meter: Meter | None = None) -> None:
        self.service = service
        self.components = components
        self.meter = meter
        self.started: list[Component] = []
        self.waiting_for = "it is starting"
        self.failure: Exception | None = None
        self.draining = asyncio.Event()
        self.heartbeat = time.monotonic()
        self.on_failure: Callable[[Exception], None] = lambda _: None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """Whether every component has started."""
        return len(self.started) == len(self.components)

    def begin(self) -> None:
        """Start the components in the background, in order, each tried again until what it needs is there."""
        self._tasks = [asyncio.create_task(each()) for each in (self._beat, self._start, self._watch)]

    async def end(self) -> None:
        """Stop the components in reverse, all within ten seconds; a failure to stop is logged and does not stop the rest."""
        self.draining.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        deadline = time.monotonic() + _STOP_SECONDS
        while self.started:
            component = self.started.pop()
            try:
                async with asyncio.timeout(max(1.0, deadline - time.monotonic())):
                    await component.stop()
            except Exception as error:
                logger.error("a component did not stop cleanly", component_name=component.name, exc_info=error)
        logger.info("stopped")

    async def _beat(self) -> None:
        while True:
            self.heartbeat = time.monotonic()
            await asyncio.sleep(_BEAT)

    async def _watch(self) -> None:
        """Keep what /metrics says of the components fresh, whether or not somebody asks for /readyz."""
        while self.meter is not None:
            checks = {each.name: await check(each) for each in list(self.started)}
            for each in self.components:
                found = checks.get(each.name)
                self.meter.ready.labels(each.name).set(found is not None and found.ok)
            await asyncio.sleep(_WATCH if self.ready else _BEAT)

    async def _start(self) -> None:
        try:
            for component in self.components:
                await self._start_one(component)
                self.started.append(component)
            logger.info("ready")
        except Exception as error:
            self.failure = error
            self.waiting_for = f"{component.name}: cannot start: {error}"
            logger.error("a component cannot start", component_name=component.name, exc_info=error)
            self.on_failure(error)

    async def _start_one(self, component: Component) -> None:
        backoff = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                return await component.start()
            except (Unavailable, *UNAVAILABLE) as error:
                sentence = error.detail if isinstance(error, Unavailable) else f"{type(error).__name__}: {error}"
                if self.waiting_for != f"{component.name}: {sentence}":
                    logger.warning("waiting for a dependency", component_name=component.name, reason=sentence)
                self.waiting_for = f"{component.name}: {sentence}"
            await asyncio.sleep(backoff.pause())

    def deaths(self) -> list[str]:
        """What has ended that never should: sentences."""
        if self.failure is not None:
            return [self.waiting_for]
        return [said for each in self.started if isinstance(each, Worker) and (said := each.died())]

    async def readiness(self) -> dict[str, Any]:
        """What /readyz answers."""
        running = list(self.started)
        results = await asyncio.gather(*(check(component) for component in running))
        checks = {component.name: result for component, result in zip(running, results, strict=True)}
        for place, component in enumerate(self.components[len(running) :]):
            name, _, reason = self.waiting_for.partition(": ")
            checks[component.name] = Check(
                False, reason if place == 0 and name == component.name else "not started yet"
            )
        healthy = self.ready and all(result.ok for result in results) and not self.deaths()
        status = "draining" if self.draining.is_set() else "ready" if healthy else "not ready"
        return report(self.service, status, checks)


class Gate:
    """Answers 503 with what is missing until the components have started; health and documentation pass."""

    OPEN = health.PATHS | documentation.PATHS

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, problems: Problems) -> None:
        self.app = app
        self.lifecycle = lifecycle
        self.problems = problems

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        lifecycle = self.lifecycle
        if scope["type"] == "http" and not lifecycle.ready and scope["path"] not in self.OPEN:
            sentence = "stopping" if lifecycle.draining.is_set() else f"starting, waiting for {lifecycle.waiting_for}"
            error = Unavailable(f"The service is {sentence}.", 1)
            await self.problems.answer(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)
