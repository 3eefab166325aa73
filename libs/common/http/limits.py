"""What a REST body may be: so many bytes, in so many seconds, JSON no deeper than 64 and without NUL."""

import asyncio
import re
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.errors import Malformed, RapportError, TooLarge, TooSlow, UnsupportedMediaType
from libs.common.http.problems import Problems, not_served
from libs.common.settings import Settings

DEPTH = 64
"""The deepest nesting of arrays and objects."""

LINGER = 2.0
"""Seconds in which a sender may notice that it was refused, before the connection is closed."""

_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*+"?|[\[\]{}]', re.DOTALL)  # each place matches one way only: linear time
# an escaped backslash, a whole pair of surrogates, or (group 1) what cannot be stored: NUL, or half a pair
_ESCAPE = re.compile(rb"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u0000|\\u[dD][89a-fA-F]..)")


class Disconnected(Exception):
    """The caller has gone: there is nobody to answer."""


async def read_body(scope: Scope, receive: Receive, limit: int, seconds: float) -> bytes:
    """The whole body, bounded in size (bytes on the wire) and time.

    Raises TooLarge (at once when Content-Length says so), TooSlow, or Disconnected.
    """
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(declared) > limit:
        raise TooLarge(f"The body has {int(declared):,} bytes; at most {limit:,} are taken.")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limit:
                    raise TooLarge(f"The body is larger than the {limit:,} bytes that are taken.")
                if not message.get("more_body"):
                    return b"".join(chunks) if len(chunks) > 1 else chunks[0]
    except TimeoutError:
        raise TooSlow(f"The body did not arrive within {seconds:g} seconds: send it again, faster.") from None


def check_json(body: bytes) -> None:
    """Raises Malformed when JSON is not UTF-8, nests deeper than 64, or carries what PostgreSQL cannot store: NUL, or
    half a pair of surrogates. O(n), no recursion."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not JSON: it is not UTF-8 (byte {error.start}). Send JSON as UTF-8.") from None
    if body.count(b"[") + body.count(b"{") > DEPTH:
        depth = 0
        for token in _TOKEN.finditer(body):
            match token[0]:
                case b"[" | b"{":
                    depth += 1
                    if depth > DEPTH:
                        raise Malformed(f"The JSON is nested deeper than {DEPTH} levels: make it flatter.")
                case b"]" | b"}":
                    depth -= 1
    if b"\0" in body:
        raise Malformed("The body contains the character NUL, which cannot be stored: remove it.")
    if b"\\u" in body and (bad := next((found[1] for found in _ESCAPE.finditer(body) if found[1]), None)):
        what = "NUL" if bad == b"\\u0000" else "half of a character"
        raise Malformed(f"The body contains {bad.decode()}, {what}, which cannot be stored: remove it.")


class Limits:
    """Reads and checks every body before the application sees it; `own` names the path prefixes (`{}` is any segment of a path)
    that do it themselves (None) or have another limit (bytes)."""

    def __init__(self, app: ASGIApp, problems: Problems, settings: Settings, own: Mapping[str, int | None]) -> None:
        self.app = app
        self.problems = problems
        self.limit = settings.body_limit
        self.seconds = settings.body_seconds
        self.own = [
            (re.compile(re.escape(prefix).replace(r"\{\}", "[^/]+")), limit)
            for prefix, limit in sorted(own.items(), key=lambda item: -len(item[0]))
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        limit = next((limit for prefix, limit in self.own if prefix.match(path)), self.limit)
        if limit is None:
            await self.app(scope, receive, send)
            return
        try:
            body = await read_body(scope, receive, limit, self.seconds)
            if body:
                _check_type(scope)
                check_json(body)
        except Disconnected:
            return
        except (TooLarge, TooSlow) as error:
            await refuse(self.problems, not_served(scope) or error, scope, receive, send)
            return
        except RapportError as error:
            await self.problems.answer(not_served(scope) or error)(scope, receive, send)
            return
        await self.app(scope, _Replayed(body, receive), send)


class _Replayed:
    """A `receive` that gives the body once and then what the server says."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self.message: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self.receive = receive

    async def __call__(self) -> Message:
        if (message := self.message) is not None:
            self.message = None
            return message
        return await self.receive()


async def refuse(problems: Problems, error: RapportError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a caller who is still sending, and give it two seconds to read that before the connection is closed.

    Closing at once would reset the connection, and most clients would report that instead of our answer.
    """

    async def lingering(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)
            return
        await send({**message, "more_body": True})
        try:
            async with asyncio.timeout(LINGER):
                while (received := await receive())["type"] == "http.request" and received.get("more_body"):
                    continue
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})

    await problems.answer(error)(scope, receive, lingering)


def _check_type(scope: Scope) -> None:
    headers = dict(scope["headers"])
    sent = headers.get(b"content-type", b"").decode("latin-1")
    kind = sent.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"The body is sent as {sent or 'nothing in particular'}: send JSON, with the header Content-Type: application/json."
        )
    if (encoding := headers.get(b"content-encoding", b"identity").decode("latin-1")) != "identity":
        raise UnsupportedMediaType(f"The body is sent in the encoding {encoding}: send it as it is.")
