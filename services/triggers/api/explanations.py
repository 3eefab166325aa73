"""Routes that explain why a hook sent or did not send, and what a draft would do."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from libs.common.contracts.input import Input
from libs.common.contracts.iso_types import Moment
from libs.common.db.pool import Tx
from libs.common.errors import Invalid
from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from libs.common.rules.rule_event import RuleEvent
from services.triggers import queries
from services.triggers.decider import TriggersHandler
from services.triggers.domain.explain import Explanation, Record, explain
from services.triggers.domain.rules import CompiledHook, Rules, compiled
from services.triggers.domain.state import Recipient
from services.triggers.explanations import NO_EVENT, happened, in_force, why

Reader = Annotated[Principal, Depends(require("hooks:read"))]
Version = Annotated[int | None, Field(ge=1, le=2**31 - 1)]


class Answer(BaseModel):
    """`verdict` for machines, `sentence` for people, `details` for both."""

    customer: str | None
    hook: UUID
    verdict: str = Field(examples=["sent"])
    sentence: str
    details: dict[str, Any]


class Sample(BaseModel):
    """A sample event. `time` is when it happens; now, unless it is given."""

    model_config = ConfigDict(extra="forbid")

    properties: dict[str, Any] = Field(default={}, examples=[{"revenue": 60}])
    traits: dict[str, Any] = {}
    context: dict[str, Any] = {}
    time: Moment | None = None


class Trial(BaseModel):
    """What to test a hook on: a customer's last event of its name, or a sample event, or a sample event of this customer.

    `traits` and `consent` are those of a sample customer, who consents to the hook's purpose unless `consent` is given.
    `version` is the newest, unless it is given.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"event": {"properties": {"revenue": 60}}, "traits": {"plan": "gold"}}},
    )

    customer: str | None = Field(default=None, examples=["user:ann"])
    event: Sample | None = None
    traits: dict[str, Any] | None = None
    consent: dict[str, bool] | None = Field(default=None, examples=[{"marketing": False}])
    version: Annotated[StrictInt | None, Field(ge=1, le=2**31 - 1)] = None


class Tried(Answer):
    """What the hook would do. `condition` has each comparison with its values; `text` is what would be sent."""

    version: int
    condition: dict[str, Any] | None
    title: str | None
    text: str | None


def routes(part: ConsumerService, handler: TriggersHandler) -> APIRouter:
    """Routes to explain and to test a hook."""
    router = APIRouter(prefix="/v1/hooks/{id}", tags=["hooks"])

    @router.get("/why", summary="Why a customer got this hook's message, or why not")
    async def ask(
        id: UUID,
        customer: Annotated[str, Query(min_length=1, max_length=600, examples=["user:ann"])],
        _: Reader,
        version: Annotated[Version, Query()] = None,
    ) -> Answer:
        """Always answers in one sentence, about the customer's last event of the hook's name."""
        explanation = await why(part, handler, id, customer, version)
        return Answer(customer=customer, hook=id, **_parts(explanation))

    @router.post("/test", summary="Test a hook on a sample or on a customer's last event; nothing is sent or changed")
    async def test(id: UUID, trial: Trial, _: Reader) -> Tried:
        if trial.customer is None and trial.event is None:
            raise Invalid("Give a customer, whose last event is used, or a sample event, or both.")
        if trial.customer is not None and (trial.traits is not None or trial.consent is not None):
            raise Invalid("Traits and consent are the customer's own: leave them out, or leave out the customer.")
        async with part.read() as tx:
            version = trial.version or (await queries.hook(tx, id))["version"]
            hook = compiled(str(id), version, await queries.hook_content(tx, id, version))
            explanation = await _tried(tx, part, handler, hook, trial)
        details = dict(explanation.details)
        return Tried(
            customer=trial.customer,
            hook=id,
            version=version,
            condition=details.pop("condition", None),
            title=details.pop("title", None),
            text=details.pop("text", None),
            **_parts(Explanation(explanation.verdict, explanation.sentence, details)),
        )

    return router


async def _tried(
    tx: Tx, part: ConsumerService, handler: TriggersHandler, hook: CompiledHook, trial: Trial
) -> Explanation:
    event = hook.hook.trigger.event
    if trial.customer is None:
        everywhere = await queries.workspace(tx)
        decider = handler.decider
        rules = Rules(
            decider.zone,
            everywhere.daily_cap,
            quiet_hours=everywhere.quiet_hours,
            without_consent=decider.without_consent,
        )
        consent = {hook.hook.action.purpose: True} if trial.consent is None else trial.consent
        stranger = {"id": "sample", "traits": trial.traits or {}, "consent": consent}
        return explain(hook, _sample(event, trial.event or Sample(), stranger, rules), Recipient())
    customer, state = await queries.customer(tx, handler.customers, trial.customer)
    rules = await in_force(tx, part, handler.decider, customer)
    last = await queries.last_event(tx, customer, event if trial.event is None else None)
    if trial.event is not None:
        snapshot: dict[str, Any] = (
            {"id": str(customer)} if last is None else msgspec.json.decode(last["data"])["customer"]
        )
        snapshot |= {"consent": state.consent, "deselected": state.deselected}
        return explain(hook, _sample(event, trial.event, snapshot, rules), state)
    if last is None:
        return Explanation(NO_EVENT, f"This customer has had no {event} yet: give a sample event to test the hook on.")
    return explain(hook, happened(last, rules), state)


def _sample(name: str, sample: Sample, snapshot: dict[str, Any], rules: Rules) -> Record:
    """The sample as if it had just been received."""
    now = datetime.now(UTC)
    data = {"properties": sample.properties, "traits": sample.traits, "context": sample.context, "customer": snapshot}
    body = RuleEvent(name, "track", msgspec.Raw(msgspec.json.encode(data)))
    input = Input("sample", "track.v1", "/apps/sample", sample.time or now, now, 0, False, None, body)
    return Record(body, input, rules)


def _parts(explanation: Explanation) -> dict[str, Any]:
    return {"verdict": explanation.verdict, "sentence": explanation.sentence, "details": explanation.details}
