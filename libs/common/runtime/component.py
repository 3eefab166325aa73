"""A part of a service with a life: what it is asked, and what it says of itself."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class ReaderLag:
    """How far one reader is behind: records, and the age in seconds of the oldest unread one."""

    reader: str
    topic: str
    records: int
    seconds: float


@dataclass(frozen=True)
class Check:
    """What a component says of itself: whether it can do its work, and else why not, in a sentence.

    `concerns` are sentences on what needs a person though the rest goes on: a partition that has stopped.
    """

    ok: bool
    detail: str = ""
    lag: tuple[ReaderLag, ...] = ()
    concerns: tuple[str, ...] = ()


class Component(Protocol):
    """A part with a life: a database, a fold, a forwarder, delivery workers.

    `start` raises Unavailable (or OSError, TimeoutError, a PostgreSQL error) when something it needs is away: it is tried
    again. It cleans up after itself when it fails or is cancelled. `stop` finishes what is begun; it is called only after
    a `start` that succeeded. `check` may be called at any time between, and takes at most two seconds.
    """

    name: str

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def check(self) -> Check: ...


@runtime_checkable
class Worker(Protocol):
    """A component with tasks that never should end. `died` says in a sentence which one did; empty while all is well."""

    def died(self) -> str: ...
