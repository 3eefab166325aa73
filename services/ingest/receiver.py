"""The receiver: from a request's bytes to its answer, which is 200 only when every accepted event is in the log."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from libs.common.contracts.events import Kind
from libs.common.errors import Malformed, RapportError, TooLarge, TooSlow, Unauthenticated, Unavailable
from libs.common.http.fast.inline import Exchange
from libs.common.http.limits import Disconnected, refuse
from libs.common.observability import tracing
from libs.common.observability.telemetry import current_request
from services.ingest.api.credentials import chosen, cors, from_header, require_origin
from services.ingest.api.raw import Answer
from services.ingest.body_reader import BodyReader, Memory, Share
from services.ingest.build_records import BuiltRecords, build_records
from services.ingest.commit import GroupCommit
from services.ingest.domain import body as bodies
from services.ingest.domain import hints
from services.ingest.domain.body import Payload, Read, Sent
from services.ingest.domain.reading.mend import named
from services.ingest.entry_rules import RulesInForce
from services.ingest.queries import Grant
from services.ingest.rejections import Refused
from services.ingest.results import Results
from services.ingest.write_keys import WriteKeys

_encode = msgspec.json.Encoder().encode


class Receiver:
    """Receives events: reads the body, checks the key, builds records, stores them, answers.

    `receive` may wait for the body and for the key; `inline` takes a request that needs neither. All between is shared.
    """

    def __init__(
        self,
        keys: WriteKeys,
        commit: GroupCommit,
        rules: RulesInForce,
        results: Results,
        memory: Memory,
        imported: bool = False,
    ) -> None:
        """`imported` events are history: `commit` marks them so, and a replay of what was rejected must, too."""
        self._imported = imported
        self._keys = keys
        self._commit = commit
        self._rules = rules
        self._results = results
        self._memory = memory
        self._body_reader = BodyReader()

    async def receive(self, request: Request, kind: Kind | None, read: Read | None = None) -> ASGIApp | None:
        """Answer a request that carries one event of `kind`, or a batch when that is None; of another protocol when `read`
        is its reader."""
        headers = dict(request.scope["headers"])
        try:
            with Share(self._memory) as share:
                answer = await self._store(request, headers, kind, read, share)
        except Disconnected:
            return None
        except RapportError as error:
            self._refuse(headers, error)
            if isinstance(error, TooLarge | TooSlow):
                return _refusal(request, error)
            raise
        return Answer(answer, cors(headers))

    def inline(self, exchange: Exchange, kind: Kind | None) -> bool:
        """Answer a request that is here as a whole and whose key is cached, without a task. False leaves any other, and any
        that is refused, to `receive`."""
        headers, share = exchange.headers, Share(self._memory)
        try:
            received_at = datetime.now(UTC)
            payload = _parsed(self._body_reader.whole(headers, exchange.body, share), kind)
            grant = self._keys.known(_key(headers, payload))
            if grant is None:
                share.give_back()
                return False
            traceparent = exchange.context.traceparent if b"traceparent" in headers else None
            built = self._build(headers, payload, kind, grant, received_at, traceparent, share)
            settle = partial(self._settle, exchange, built, grant, received_at, share)
            if built.records:
                self._commit.submit(built.records, settle)
        except Unavailable as error:
            share.give_back()
            self._fail(exchange, error)
            return True
        except Exception:  # `receive` answers it
            share.give_back()
            return False
        if not built.records:
            settle(None)
        return True

    def _settle(
        self,
        exchange: Exchange,
        built: BuiltRecords,
        grant: Grant,
        received_at: datetime,
        share: Share,
        error: Exception | None,
    ) -> None:
        share.give_back()
        if error is not None:
            self._fail(exchange, error)
            return
        answer = Answer(self._answered(built, grant, received_at), cors(exchange.headers))
        exchange.answer(answer.headers, answer.body)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        if isinstance(error, RapportError):
            self._refuse(exchange.headers, error)
        exchange.fail(error)

    async def discard(self, request: Request, answer: bytes = b'{"success":true}') -> ASGIApp | None:
        """Read a body and forget it."""
        headers = dict(request.scope["headers"])
        try:
            with Share(self._memory) as share:
                await self._body_reader.wire(headers, request.receive, share)
        except Disconnected:
            return None
        except (TooLarge, TooSlow) as error:
            return _refusal(request, error)
        return Answer(answer, cors(headers))

    async def _store(
        self,
        request: Request,
        headers: Mapping[bytes, bytes],
        kind: Kind | None,
        read: Read | None,
        share: Share,
    ) -> bytes:
        received_at = datetime.now(UTC)
        body = await self._body_reader.text(headers, request.receive, share)
        try:
            sent = Sent(body, headers, request.scope["query_string"], received_at)
            payload = _parsed(body, kind) if read is None else _translated(read, sent, share)
        except Malformed as error:
            self._results.metrics.malformed()
            await self._note(headers, received_at, error, body)
            raise
        try:
            key = _key(headers, payload)
        except Unauthenticated as error:
            raise Unauthenticated(error.detail + hints.missing_key(body, request.scope["query_string"])) from None
        grant = await self._keys.grant(key)
        built = self._build(headers, payload, kind, grant, received_at, _traceparent(headers), share)
        if built.records:
            await self._commit.append(built.records)
        return self._answered(built, grant, received_at)

    def _build(
        self,
        headers: Mapping[bytes, bytes],
        payload: Payload,
        kind: Kind | None,
        grant: Grant,
        received_at: datetime,
        traceparent: str | None,
        share: Share,
    ) -> BuiltRecords:
        """What is to be stored of a request, and its answer. Lists what is rejected; raises what refuses the whole."""
        require_origin(grant, headers.get(b"origin"))
        self._results.admit(grant, len(payload.events))
        built = build_records(payload, kind, grant, received_at, traceparent, self._rules.of(grant))
        self._results.built(grant, received_at, built, self._imported)
        share.take(sum(len(record.value) for record in built.records))
        return built

    def _answered(self, built: BuiltRecords, grant: Grant, received_at: datetime) -> bytes:
        """The answer to a request whose records are in the log."""
        self._results.stored(grant, received_at, built)
        return _encode({"success": True, "results": built.results})

    def _refuse(self, headers: Mapping[bytes, bytes], error: RapportError) -> None:
        error.headers = {**error.headers, **cors(headers)}
        if isinstance(error, Unavailable):
            self._results.metrics.shed(error)

    async def _note(self, headers: Mapping[bytes, bytes], received_at: datetime, error: Malformed, body: bytes) -> None:
        """List a body that is broken as a whole under its source, if its key came in the header."""
        if (key := from_header(headers.get(b"authorization"))) is not None:
            grant: Grant = await self._keys.grant(key)
            kept = body if grant.private_fields is None else b""
            self._results.unreadable(grant, received_at, Refused(error.detail, kept, *named(body)))


def _refusal(request: Request, error: RapportError) -> ASGIApp:
    """An answer to someone who is still sending."""
    return partial(refuse, request.app.state.problems, error)


def _parsed(body: bytes, kind: Kind | None) -> Payload:
    return bodies.batch(body) if kind is None else bodies.single(body)


def _translated(read: Read, sent: Sent, share: Share) -> Payload:
    """A payload of another protocol, whose events are no parts of the body."""
    payload = read(sent)
    share.take(sum(len(bytes(event)) for event in payload.events))
    return payload


def _key(headers: Mapping[bytes, bytes], payload: Payload) -> str:
    return chosen(from_header(headers.get(b"authorization")), payload.writeKey)


def _traceparent(headers: Mapping[bytes, bytes]) -> str | None:
    """The caller's, as far as the outermost layer found it sane; while tracing is on, that of this request's span."""
    request = current_request()
    if request is None or not (b"traceparent" in headers or _recorded(request.traceparent)):
        return None
    return request.traceparent


def _recorded(traceparent: str) -> bool:
    return tracing.active() and tracing.is_sampled(traceparent)
