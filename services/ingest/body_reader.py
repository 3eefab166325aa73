"""A request's body as it arrives: bounded in bytes, in time, and by what all requests may hold together."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from starlette.types import Receive

from libs.common.errors import TooLarge, TooSlow, Unavailable
from libs.common.http.limits import Disconnected
from services.ingest.domain.encodings import decoded, require_encoding
from services.ingest.domain.limits import BODY, oversized
from services.ingest.timeouts import SharedTimeout

SECONDS = 30.0  # in which a body must have arrived: phones are slow


class Memory:
    """What all requests together may hold: `limit` bytes."""

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


class BodyReader:
    """Reads bodies. One for all requests."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._timeout = SharedTimeout(seconds)

    async def text(self, headers: Mapping[bytes, bytes], receive: Receive, share: Share) -> bytes:
        """The body without compression. Raises TooLarge (400), TooSlow, Disconnected, Malformed; Unavailable when memory is short."""
        encoding = _encoding(headers)
        wire = await self.wire(headers, receive, share)
        text = decoded(wire, encoding)
        share.take(len(text))
        return text

    def whole(self, headers: Mapping[bytes, bytes], wire: bytes, share: Share) -> bytes:
        """A body that is there already, without compression. Raises Malformed, Unavailable when memory is short."""
        encoding = _encoding(headers)
        share.take(len(wire))
        text = decoded(wire, encoding)
        share.take(len(text))
        return text

    async def wire(self, headers: Mapping[bytes, bytes], receive: Receive, share: Share) -> bytes:
        """The body as it came. Raises TooLarge (at once when Content-Length says so), TooSlow, Disconnected, Unavailable."""
        if int(headers.get(b"content-length", b"0")) > BODY:
            raise _too_large()
        chunks: list[bytes] = []
        size = 0
        try:
            with self._timeout:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Disconnected
                    chunks.append(message.get("body", b""))
                    share.take(len(chunks[-1]))
                    size += len(chunks[-1])
                    if size > BODY:
                        raise _too_large()
                    if not message.get("more_body"):
                        return b"".join(chunks) if len(chunks) > 1 else chunks[0]
        except TimeoutError:
            said = f"The body did not arrive within {self._seconds:g} seconds: send it again, faster."
            raise TooSlow(said) from None


def _encoding(headers: Mapping[bytes, bytes]) -> bytes:
    """Raises Malformed when it is one that is not taken."""
    encoding = headers.get(b"content-encoding", b"").strip().lower()
    require_encoding(encoding)
    return encoding


def _too_large() -> TooLarge:
    error = TooLarge(oversized().detail)
    error.status, error.title = 400, "Body too large"  # SDKs know Segment's 400, not 413
    return error
