"""Limits of a connection: bytes and seconds of a request's head, and seconds in which the caller must read an answer.

uvicorn bounds none of that with httptools: its `h11_max_incomplete_event_size` is of another parser.
"""

from asyncio import AbstractEventLoop, BaseProtocol, TimerHandle, Transport
from typing import Any, cast

from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from libs.common.errors import HeadersTooLarge, Malformed, RapportError, TooSlow
from libs.common.http.fast.inline import Exchange, Handler, InlineHandlers
from libs.common.http.limits import LINGER
from libs.common.http.problems import Problems

HEAD = 64 * 1024
"""Bytes of a request's first line and headers."""
_CHUNK = 256 * 1024  # the most that uvloop reads at once
_FRAMING = 8  # bytes around one byte of a chunked body, at worst; what is more are trailers, which nobody reads
_END_OF_HEAD = b"\r\n\r\n"
_UNTAKEN = 60.0  # seconds in which a caller must take something of an answer that waits for them


class CoalescedWrites(Transport):
    """Sends the head of an answer together with its body: one system call and one packet instead of two.

    A head waits for the next write, or for the end of this turn of the loop.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._head: bytes | bytearray | memoryview = b""
        # as they are: these are called for each request
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif bytes(data[-4:]) == _END_OF_HEAD:
            self._head = data
            self._loop.call_soon(self._send_head)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._send_head()
        self._transport.close()

    def abort(self) -> None:
        self._head = b""
        self._transport.abort()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def set_protocol(self, protocol: BaseProtocol) -> None:
        self._transport.set_protocol(protocol)

    def _send_head(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)


class Protocol(HttpToolsProtocol):
    """One connection; the settings, and how problems look, are in the `state` of the application that is served.

    A head that is too large is answered 431, one without an end 408, one that cannot be read 400, and the connection is
    closed a little later, so that the answer can be read. A connection on which nothing comes is closed like one that is
    kept alive in vain, also before its first request.
    """

    def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        state = config.app.state  # type: ignore[union-attr]
        self._problems: Problems = state.problems
        self._inline: InlineHandlers = state.inline
        self._feeding = False
        self._held: tuple[RequestResponseCycle, Handler] | None = None  # until what has arrived is read
        self._seconds: float = state.settings.head_seconds
        self._heads = 0  # read to their end, on this connection
        self._begun = False  # a head, whose end has not come yet
        self._in_body = False
        self._fed = 0  # bytes of this head, or a few more; in a body, bytes that are none of the body
        self._fault: RapportError | None = None
        self._refused = False
        self._too_late: TimerHandle | None = None
        self._untaken: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(CoalescedWrites(transport, self.loop))
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._too_late, self._untaken, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        heads, cycle = self._heads, self.cycle if self._in_body else None
        body = 0 if cycle is None else len(cycle.body)
        self._fed += len(data)
        self._feeding = True
        super().data_received(data)
        self._feeding = False
        if self._held is not None:
            self._start_held(*self._held)
        if heads != self._heads:
            self._fed = len(data)  # where in it the next head begins is not known
        elif cycle is not None:
            self._fed = max(0, self._fed - _FRAMING * (len(cycle.body) - body))
        if self._refused or self.transport.is_closing():
            return
        if (self._begun or self._in_body) and self._fed > HEAD + _CHUNK:
            self._refuse(_too_large())
        elif self._begun and self._too_late is None:
            self._too_late = self.loop.call_later(self._seconds, self._refuse, _too_slow(self._seconds))
        elif not self._begun and not self._in_body and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None
        if self._fed > HEAD and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD:
            self._fault = _too_large()
            raise self._fault  # this stops the parser; `send_400_response` comes next
        self._heads += 1
        self._begun, self._in_body = False, True
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if self._feeding and cycle is self.cycle and not cycle.waiting_for_100_continue:
            handler = self._inline.handler(cast(Scope, cycle.scope))
            if handler is not None:
                self._held = cycle, handler
                return
        super()._start_asgi_task(cycle, app)

    def _start_held(self, cycle: RequestResponseCycle, handler: Handler) -> None:
        """Give a request that has arrived as a whole to its inline handler; start the application for any other."""
        self._held = None
        start: Any = super()._start_asgi_task  # uvicorn's types of an application are its own
        there = not (cycle.more_body or self.flow.write_paused or self._refused)
        if not (there and handler(Exchange(cycle, self._inline.requests, start))):
            start(cycle, self.app)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body:  # what follows of it is read by nobody
            self.loop.call_later(LINGER, self._close_unless_read, self._heads)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._untaken = self.loop.call_later(_UNTAKEN, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._untaken is not None:
            self._untaken.cancel()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._fault or Malformed("This is not a valid HTTP request."))

    def _refuse(self, error: RapportError) -> None:
        """Answer once, and give the sender a moment to notice before the connection is closed."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        answer = self._problems.answer(error)
        headers = [*answer.raw_headers, (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)]))
        self.loop.call_later(LINGER, self.transport.abort)

    def _wait(self) -> None:
        """For a request, as long as on a connection that is kept alive."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _close_unless_read(self, heads: int) -> None:
        if self._in_body and self._heads == heads:
            self.transport.close()


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"The request's first line and headers have more than the {HEAD:,} bytes that are taken.")


def _too_slow(seconds: float) -> TooSlow:
    return TooSlow(f"The request's headers did not arrive within {seconds:g} seconds: send it again, faster.")
