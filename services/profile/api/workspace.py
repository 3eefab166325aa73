"""How a workspace sees its customers: the rules of the journey, and groups of traits."""

from typing import Annotated, Self

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from libs.common.fold.service import ConsumerService
from libs.common.http.auth.tokens import Principal
from libs.common.http.auth.verifier import require
from services.profile.domain import journey
from services.profile.segments.rulebooks import newest
from services.profile.segments.store import set_workspace

_DEFAULT = journey.Journey()
_Text = Annotated[str, Field(min_length=1, max_length=200)]
_Days = Annotated[StrictInt, Field(ge=1, le=3650)]


class JourneyRules(BaseModel):
    """`visitor`, then `lead` (a userId or an e-mail address is known), `first_purchase`, `repeat`, `loyal` (from
    `loyal_orders` on), `advocate` (one of `advocate_events`, and an order). Who has ordered and was not seen for so many
    days is `at_risk`, then `lapsed`, then `left`."""

    model_config = ConfigDict(extra="forbid")

    loyal_orders: StrictInt = Field(default=_DEFAULT.loyal_orders, ge=2, le=10_000)
    advocate_events: list[_Text] = Field(default=list(_DEFAULT.advocate_events), max_length=50)
    at_risk_days: _Days = _DEFAULT.at_risk_days
    lapsed_days: _Days = _DEFAULT.lapsed_days
    left_days: _Days = _DEFAULT.left_days

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.at_risk_days < self.lapsed_days < self.left_days:
            raise ValueError("at_risk_days must be less than lapsed_days, and that less than left_days")
        return self


class Workspace(BaseModel):
    """The rules of the journey, and named groups of traits (such as demographics and preferences) in which customers are
    shown."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "journey": {"loyal_orders": 5, "at_risk_days": 60, "lapsed_days": 120, "left_days": 365},
                "trait_groups": {"demographics": ["age", "country"], "preferences": ["size"]},
            }
        },
    )

    journey: JourneyRules = Field(default_factory=JourneyRules)
    trait_groups: dict[_Text, Annotated[list[_Text], Field(max_length=200)]] = Field(default={}, max_length=20)


def workspace_routes(part: ConsumerService) -> APIRouter:
    """Read and set the workspace's view of customers."""
    router = APIRouter(prefix="/v1/workspace/customers", tags=["customers"])

    @router.get("", summary="The rules of the journey, and groups of traits")
    async def read(_: Annotated[Principal, Depends(require("customers:read"))]) -> Workspace:
        async with part.read() as tx:
            book = await newest(tx)
        rules = JourneyRules.model_validate(msgspec.to_builtins(book.journey))
        return Workspace(journey=rules, trait_groups=book.trait_groups)

    @router.put("", summary="Set the rules of the journey, and groups of traits")
    async def set_all(workspace: Workspace, who: Annotated[Principal, Depends(require("segments:write"))]) -> Workspace:
        """In force for what is folded from now on. Segments that read the stage are evaluated anew for all customers. What
        is left out gets its default. Customers who recommended you before an event was listed are no advocates by it."""
        said = workspace.journey.model_dump()
        rules = journey.Journey(**{**said, "advocate_events": tuple(said["advocate_events"])})
        async with part.tx() as tx:
            await set_workspace(tx, who.subject, rules, workspace.trait_groups)
        return workspace

    return router
