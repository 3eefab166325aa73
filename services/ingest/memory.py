"""What all requests together may hold in memory: each takes from one account and gives back when it is answered."""

from types import TracebackType
from typing import Self

from libs.common.errors import Unavailable


class Memory:
    """An account of `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0


class Share:
    """What one request holds of it; given back by `give_back`, or at the end of its `with` block."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._held = 0

    def take(self, size: int) -> None:
        """Hold `size` bytes more. Raises Unavailable when all requests together would hold too much."""
        if self._memory.held + size > self._memory.limit:
            raise Unavailable("too much is being sent at once: send this again in a moment", retry_after=2)
        self._memory.held += size
        self._held += size

    def give_back(self) -> None:
        """All of it."""
        self._memory.held -= self._held
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
