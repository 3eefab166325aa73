"""Assembles and runs a service; the same for all five."""

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import FrameType
from typing import TypeVar

import uvicorn
from fastapi import APIRouter, Depends, FastAPI
from pydantic import ValidationError
from starlette.types import ASGIApp

from libs.common.http import health
from libs.common.http.auth.verifier import Verifier
from libs.common.http.cors import allow_origins
from libs.common.http.documentation import documentation
from libs.common.http.fast.connection import Protocol
from libs.common.http.fast.inline import Handlers, InlineHandlers
from libs.common.http.fast.routes import FastRoutes, Service
from libs.common.http.lifecycle import Gate, Lifecycle
from libs.common.http.limits import Limits
from libs.common.http.openapi import document
from libs.common.http.problems import AddMembers, Problems
from libs.common.http.requests import Requests
from libs.common.http.validation import refuse_unknown
from libs.common.observability import tracing
from libs.common.observability.telemetry import Meter, configure_logs, log
from libs.common.runtime.component import Check, Component, ReaderLag, Worker
from libs.common.settings import Settings

__all__ = ["Check", "Component", "Lifecycle", "ReaderLag", "Worker", "assemble", "serve"]

S = TypeVar("S", bound=Settings)

VERSION = "0.1.0"
_FILES = 65_536
DESCRIPTION = (
    "Part of Rapport, a customer engagement platform. Errors are RFC 9457 problems whose `detail` says what to do;"
    " lists are `{items, next}`; `{ref}` is a customer's id, `user:ann` or `anon:a1`."
)


def assemble(
    name: str,
    purpose: str,
    settings: Settings,
    components: Sequence[Component],
    routers: Sequence[APIRouter],
    *,
    meter: Meter | None = None,
    body_limits: Mapping[str, int | None] | None = None,
    problem_members: AddMembers | None = None,
    fast_routes: FastRoutes | None = None,
    browsers: bool = False,
    inline: Handlers | None = None,
) -> FastAPI:
    """Assemble a service from its components and routes, with health, limits, problems and metrics.

    The components start in the background, in order, so the port is open immediately. Until all have started, routes
    answer 503 and say what is missing. Raises ValueError if the settings' public key is invalid.

    - `purpose` is one sentence for the API's description.
    - `body_limits` gives path prefixes (`{}` is any segment) another limit in bytes. None means that the route limits its body itself
      (`limits.read_body`).
    - `problem_members` adds members to every problem.
    - `fast_routes` are routes by method and path that FastAPI only documents; they limit their bodies themselves too.
    - `inline` handlers may answer requests to fast routes without a task.
    - `browsers` allows requests from pages of the settings' `browser_origins`.

    `app.state` holds `settings`, `meter`, `verifier`, `problems`, `lifecycle` and `inline`.
    """
    meter = meter or Meter(name)
    problems = Problems(problem_members)
    lifecycle = Lifecycle(name, components, meter)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        lifecycle.begin()
        try:
            yield
        finally:
            await lifecycle.end()

    def around(inner: ASGIApp) -> ASGIApp:
        return Requests(Gate(inner, lifecycle, problems), meter, problems)

    app = Service(
        fast_routes or {},
        around,
        title=f"Rapport {name}",
        version=VERSION,
        description=f"{purpose}\n\n{DESCRIPTION}",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        # ours are in observability/telemetry.py
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.settings = settings
    app.state.meter = meter
    app.state.verifier = Verifier(settings)
    app.state.problems = problems
    app.state.lifecycle = lifecycle
    app.state.inline = InlineHandlers(inline or {}, fast_routes or {}, lifecycle, meter, problems)
    problems.install(app)
    # the last added is the outermost
    app.add_middleware(Limits, problems=problems, settings=settings, own=body_limits or {})
    app.add_middleware(Gate, lifecycle=lifecycle, problems=problems)
    allow_origins(app, settings.browser_origins if browsers else ())
    app.add_middleware(Requests, meter=meter, problems=problems)
    for router in (documentation(app), *routers, health.router):
        app.include_router(router, dependencies=[Depends(refuse_unknown)])
    document(app, problem_members)
    return app


def serve(name: str, create: Callable[[S], FastAPI], settings_class: type[S]) -> None:
    """Run a service until SIGTERM or SIGINT, then exit with 0. Exits with 2 if a setting is wrong, with 1 if a
    component can never start."""
    if os.environ.get("RAPPORT_DIE_WITH_PARENT") == "1":
        _die_with_parent()
    try:
        settings = settings_class.load(name)
        configure_logs(name, settings.log_level)
        tracing.configure(name)
        app = create(settings)
    except (ValueError, OSError) as error:
        print(f"{name}: {_sentence(name, error)}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    _allow_many_connections()
    # All objects so far stay, so the garbage collector need not visit them. It also runs less often: a batch creates
    # thousands of small objects, which reference counting frees.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    server = _Server(app, settings)
    server.run()
    tracing.close()
    sys.exit(1 if server.failed or not server.started else 0)


class _Server(uvicorn.Server):
    """uvicorn with draining: after a signal, the service drains before it stops, and exits with 0. It also stops if a
    component can never start."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                settings.host,
                settings.port,
                loop="uvloop",
                http=Protocol,
                ws="none",
                log_config=None,
                log_level=max(logging.getLevelName(settings.log_level.upper()), logging.WARNING),
                access_log=False,
                server_header=False,
                backlog=2048,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=10,
            )
        )
        self.lifecycle: Lifecycle = app.state.lifecycle
        self.lifecycle.on_failure = self._fail
        self.failed = False
        self.drain_seconds = settings.drain_seconds
        self.loop: asyncio.AbstractEventLoop | None = None

    def _fail(self, _: Exception) -> None:
        self.failed = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # a signal may interrupt any code, so the event loop does the work
        if self.loop is None or self.lifecycle.draining.is_set():
            self._close(sig, frame)
        else:
            self.loop.call_soon_threadsafe(self._drain, sig)

    def _drain(self, sig: int) -> None:
        log("serve").info("draining", signal=signal.Signals(sig).name)
        self.lifecycle.draining.set()
        if self.loop is not None:
            self.loop.call_later(self.drain_seconds, self._close, sig, None)

    def _close(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # keeps uvicorn from raising the signal again after the stop


def _allow_many_connections() -> None:
    """Raise this process's limit of open files, which is 1,024 on many systems."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _die_with_parent() -> None:
    """Let Linux send this process SIGTERM when the thread that started it ends, so none survives a killed runner."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGTERM)


def _sentence(service: str, error: ValueError | OSError) -> str:
    """A sentence on what is wrong with the settings; it names the variable."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        field = str(first["loc"][0]).upper() if first["loc"] else ""
        own = f"RAPPORT_{service.upper()}_{field}"
        variable = own if own in os.environ else f"RAPPORT_{field}"
        value = "" if field.endswith(("URL", "PASSWORD", "KEY", "SECRET")) else f" (it is {first['input']!r})"
        message = first["msg"].removeprefix("Value error, ")
        return f"{variable} is wrong: {message}{value}" if field else message
    if isinstance(error, OSError) and error.filename is not None:
        named = [
            key for key, value in os.environ.items() if key.startswith("RAPPORT_") and value == str(error.filename)
        ]
        return f"{named[0] if named else 'a setting'} names {error.filename}, which cannot be read: {error.strerror}"
    return str(error)
