"""The door: from a request's bytes to its answer, which is 200 only when every accepted event is in the log."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from libs.common import tracing
from libs.common.errors import Malformed, RapportError, TooLarge, TooSlow, Unavailable
from libs.common.events import Kind
from libs.common.telemetry import current_request
from libs.common.web.limits import Disconnected, read_body, refuse
from libs.common.web.problems import Problems
from services.ingest.api.credentials import chosen, cors, from_header, require_origin
from services.ingest.commit import GroupCommit
from services.ingest.domain import body as bodies
from services.ingest.domain.body import Envelope
from services.ingest.domain.limits import BODY, oversized, plain
from services.ingest.intake import take_in
from services.ingest.memory import Memory, Share
from services.ingest.outcomes import Outcomes
from services.ingest.queries import Grant
from services.ingest.rejections import Refused, Rejections
from services.ingest.write_keys import WriteKeys

SECONDS = 30.0  # in which a body must have arrived: phones are slow
_ENCODINGS = (b"", b"identity", b"gzip", b"x-gzip")

_encode = msgspec.json.Encoder().encode


class Door:
    """Receives events: reads, checks the key, decides on each event, stores, answers."""

    def __init__(
        self, keys: WriteKeys, commit: GroupCommit, rejections: Rejections, memory: Memory, outcomes: Outcomes
    ) -> None:
        self._keys = keys
        self._commit = commit
        self._rejections = rejections
        self._memory = memory
        self._outcomes = outcomes

    async def receive(self, request: Request, kind: Kind | None) -> Response | None:
        """Answer a request that carries one event of `kind`, or a batch when that is None."""
        headers = dict(request.scope["headers"])
        try:
            with Share(self._memory) as share:
                answer = await self._store(request, headers, kind, share)
        except Disconnected:
            return None
        except RapportError as error:
            error.headers = {**error.headers, **cors(headers)}
            if isinstance(error, Unavailable):
                self._outcomes.shed(error)
            if isinstance(error, TooLarge | TooSlow):
                return _Refusal(request.app.state.problems, error)
            raise
        return Response(answer, 200, cors(headers), "application/json")

    async def discard(self, request: Request) -> Response | None:
        """Read a body and forget it."""
        try:
            await read_body(request.scope, request.receive, BODY, SECONDS)
        except Disconnected:
            return None
        return Response(b'{"success":true}', 200, cors(dict(request.scope["headers"])), "application/json")

    async def _store(self, request: Request, headers: Mapping[bytes, bytes], kind: Kind | None, share: Share) -> bytes:
        received_at = datetime.now(UTC)
        key = from_header(headers.get(b"authorization"))
        body = await _body(request, headers, share)
        try:
            envelope = _parsed(body, kind)
        except Malformed as error:
            self._outcomes.malformed()
            await self._note(key, received_at, error, body)
            raise
        grant = await self._keys.grant(chosen(key, envelope.writeKey))
        require_origin(grant, headers.get(b"origin"))
        intake = take_in(envelope, kind, grant, received_at, _traceparent(headers))
        if intake.refused:
            self._rejections.add(grant.source_id, received_at, intake.refused)
        if intake.records:
            share.take(sum(len(record.value) for record in intake.records))
            await self._commit.append(intake.records)
        self._outcomes.answered(intake.verdicts, len(intake.refused))
        return _encode({"success": True, "results": intake.verdicts})

    async def _note(self, key: str | None, received_at: datetime, error: Malformed, body: bytes) -> None:
        """List a body that is broken as a whole under its source, if its key came in the header."""
        if key is not None:
            grant: Grant = await self._keys.grant(key)
            self._rejections.add(grant.source_id, received_at, [Refused(error.detail, body)])


class _Refusal(Response):
    """An answer to someone who is still sending."""

    def __init__(self, problems: Problems, error: RapportError) -> None:
        super().__init__(status_code=error.status)
        self._problems = problems
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(self._problems, self._error, scope, receive, send)


async def _body(request: Request, headers: Mapping[bytes, bytes], share: Share) -> bytes:
    async def receive() -> Message:
        message = await request.receive()
        share.take(len(message.get("body", b"")))
        return message

    encoding = headers.get(b"content-encoding", b"").strip().lower()
    if encoding not in _ENCODINGS:
        raise Malformed(f"the body's encoding {encoding.decode('latin-1')[:20]} is not taken: send gzip, or none")
    try:
        wire = await read_body(request.scope, receive, BODY, SECONDS)
    except TooLarge as error:
        error.status, error.title = 400, "Body too large"  # SDKs know Segment's 400, not 413
        error.detail = oversized().detail
        raise
    text = plain(wire)
    share.take(len(text))
    return text


def _parsed(body: bytes, kind: Kind | None) -> Envelope:
    return bodies.batch(body) if kind is None else bodies.single(body)


def _traceparent(headers: Mapping[bytes, bytes]) -> str | None:
    """The caller's, as far as the outermost layer found it sane; while tracing is on, that of this request's span."""
    request = current_request()
    if request is None or not (b"traceparent" in headers or _recorded(request.traceparent)):
        return None
    return request.traceparent


def _recorded(traceparent: str) -> bool:
    return tracing.active() and tracing.is_sampled(traceparent)
