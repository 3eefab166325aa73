"""Components: the parts of a service that are started, checked and stopped."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class ReaderLag:
    """How far one reader is behind: unread records, and the age in seconds of the oldest one."""

    reader: str
    topic: str
    records: int
    seconds: float


@dataclass(frozen=True)
class Check:
    """The state of a component: whether it can do its work; if not, `detail` says why in a sentence.

    `concerns` are sentences about what needs an operator while the rest continues, such as a stopped partition.
    """

    ok: bool
    detail: str = ""
    lag: tuple[ReaderLag, ...] = ()
    concerns: tuple[str, ...] = ()


class Component(Protocol):
    """A part of a service that is started and stopped: a database, a fold, a forwarder, delivery workers.

    `start` raises Unavailable (or OSError, TimeoutError, a PostgreSQL error) if something it needs is unavailable; the
    caller tries again. It cleans up if it fails or is cancelled. `stop` finishes work in progress; it is called only
    after `start` succeeded. `check` may be called at any time between the two, and takes at most two seconds.
    """

    name: str

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def check(self) -> Check: ...


@runtime_checkable
class Worker(Protocol):
    """A component with tasks that should never end. `died` returns a sentence if one has ended, else ""."""

    def died(self) -> str: ...
