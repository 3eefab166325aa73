"""Receives webhooks: verified over the body as it came, mapped, and answered 200 only when their events are in the log."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp

from libs.common.contracts.json_faults import fault
from libs.common.db.errors import UNAVAILABLE
from libs.common.errors import Invalid, Malformed, TooLarge, TooSlow, Unavailable
from libs.common.http.limits import Disconnected, refuse
from libs.common.observability.telemetry import current_traceparent
from libs.common.runtime.postgres import Postgres
from services.ingest.api.raw import Answer
from services.ingest.body_reader import BodyReader, Memory, Share
from services.ingest.build_records import BuiltRecords, build_records
from services.ingest.commit import GroupCommit
from services.ingest.domain import body as bodies
from services.ingest.domain import limits
from services.ingest.domain.limits import Rejection
from services.ingest.entry_rules import RulesInForce
from services.ingest.inbound import store
from services.ingest.inbound.mapping import CompiledMapping, Delivery, InboundMapping, Mapped
from services.ingest.inbound.signatures import verify
from services.ingest.inbound.store import Receiving
from services.ingest.queries import Grant
from services.ingest.rejections import Refused
from services.ingest.results import Results

BODY = 512 * 1024  # bytes of a webhook
_COMPILED = 200  # mappings kept
_PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization"})

_encode = msgspec.json.Encoder().encode


class InboundReceiver:
    """Receives webhooks, and says what a payload would become."""

    def __init__(
        self,
        postgres: Postgres,
        commit: GroupCommit,
        rules: RulesInForce,
        results: Results,
        memory: Memory,
    ) -> None:
        self._postgres = postgres
        self._commit = commit
        self._rules = rules
        self._results = results
        self._memory = memory
        self._body_reader = BodyReader()
        self._compiled: OrderedDict[str, CompiledMapping] = OrderedDict()

    async def receive(self, request: Request) -> ASGIApp | None:
        """Answer a webhook. Every event that it becomes is stored, or the answer is an error and the sender tries again."""
        try:
            with Share(self._memory) as share:
                answer = await self._store(request, share)
        except Disconnected:
            return None
        except (TooLarge, TooSlow) as error:
            return partial(refuse, request.app.state.problems, error)
        return Answer(answer, {})

    def compiled(self, mapping: str) -> CompiledMapping:
        """A mapping as it is stored, compiled once."""
        found = self._compiled.get(mapping)
        if found is None:
            found = self._compiled[mapping] = CompiledMapping(InboundMapping.model_validate_json(mapping))
            if len(self._compiled) > _COMPILED:
                self._compiled.popitem(last=False)
        return found

    def built(
        self, mapped: list[Mapped], grant: Grant, received_at: datetime, traceparent: str | None = None
    ) -> BuiltRecords:
        """The records of what a payload became, with a result for each event."""
        batch = bodies.batch(_encode({"batch": [each.event for each in mapped if each.event is not None]}))
        return build_records(batch, None, grant, received_at, traceparent, self._rules.of(grant))

    async def _store(self, request: Request, share: Share) -> bytes:
        received_at = datetime.now(UTC)
        hook = _id(request.path_params["hook"])
        receiving = await self._receiving(hook)
        raw = dict(request.scope["headers"])
        body = await self._body_reader.wire(raw, request.receive, share)
        if len(body) > BODY:
            raise TooLarge(f"The webhook has {len(body):,} bytes; at most {BODY:,} are taken.")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw.items()}
        verify(receiving.signature, receiving.secret_header, receiving.secrets, headers, body, received_at)
        try:
            delivery = delivered(str(hook), body, _without_secrets(headers, receiving.secret_header))
            mapped = self.compiled(receiving.mapping).apply(delivery)
        except Invalid as error:
            self._results.unreadable(
                receiving.grant,
                received_at,
                Refused(error.detail, body if receiving.grant.private_fields is None else b""),
            )
            self._results.metrics.malformed()
            raise
        built = self.built(mapped, receiving.grant, received_at, current_traceparent())
        share.take(sum(len(record.value) for record in built.records))
        self._results.built(receiving.grant, received_at, built)
        if built.records:
            try:
                await self._commit.append(built.records)
            except Unavailable as error:
                self._results.metrics.shed(error)
                raise
        self._results.stored(receiving.grant, received_at, built)
        if built.refused:
            reasons = "; ".join(dict.fromkeys(refused.reason for refused in built.refused))
            raise Invalid(
                f"{len(built.refused)} of {len(built.results)} events of this webhook were rejected: {reasons}"
            )
        return _encode({"success": True, "results": built.results})

    async def _receiving(self, hook: UUID) -> Receiving:
        try:
            async with self._postgres.database.connection() as connection:
                return await store.receiving(connection, hook)
        except UNAVAILABLE as error:
            raise Unavailable("the webhook cannot be checked just now: send it again", 2) from error


def delivered(hook: str, body: bytes, headers: Mapping[str, str]) -> Delivery:
    """A delivery from its body. Raises Malformed when that is no JSON object."""
    try:
        payload: Any = msgspec.json.decode(limits.without_halves(body))
        payload = limits.tidied(payload)
    except Rejection as error:
        raise Malformed(f"the webhook's body cannot be taken: {error}") from None
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the webhook's body cannot be read: {fault(body, error)}") from None
    if not isinstance(payload, dict):
        raise Malformed("the webhook's body is JSON, but no object")
    id = headers.get("webhook-id") or hashlib.sha256(body).hexdigest()
    return Delivery(hook, payload, headers, id)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)  # there is none


def _without_secrets(headers: Mapping[str, str], secret_header: str | None) -> dict[str, str]:
    private = _PRIVATE | {(secret_header or "").lower()}
    return {name: value for name, value in headers.items() if name not in private}
