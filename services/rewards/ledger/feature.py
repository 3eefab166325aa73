"""The ledger: points in lots, what refunds take back, adjustments, expiry. It alone writes balances."""

from collections.abc import Iterator, Sequence
from datetime import tzinfo
from typing import Any, ClassVar
from uuid import UUID

from fastapi import APIRouter

from libs.common.contracts.input import Input
from libs.common.contracts.records import Fact
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied
from libs.common.fold.handler import DeciderHandler
from libs.common.fold.sections import One, Wanted
from libs.common.fold.service import ConsumerService
from libs.common.replay.replayable import Compared
from services.rewards.course import Course, Merging
from services.rewards.feature import Feature, Live
from services.rewards.inputs import OrderCompleted, OrderRefunded
from services.rewards.ledger import api, decide, evolve, merge
from services.rewards.ledger.expiry import Points, Validity
from services.rewards.ledger.project import ENTRY, keep, project
from services.rewards.ledger.state import CREDIT, Credit, Wallet, order_key
from services.rewards.rules import Workspace


class Ledger(Feature):
    """Keeps each customer's wallet, and books every fact about points."""

    name = "ledger"
    key = "points"
    section = Points
    default = Points()
    state = Wallet
    sections: ClassVar[dict[str, Any]] = {CREDIT: Credit}
    compared = (
        Compared("entries", ENTRY, "customer"),  # not inserted_at
        Compared("totals", ("partition", "day", "account"), sums=("points",)),
    )

    personal = ("entries",)

    def compile(self, section: Points, workspace: Workspace) -> Validity:
        return Validity(section.expire_after_days, workspace.zone)

    def named(self, body: Any) -> Iterator[Wanted]:
        """What is known of the order that the input is about."""
        if isinstance(body, OrderCompleted | OrderRefunded):
            yield One(CREDIT, order_key(body.order))

    def decide(self, state: Wallet, course: Course, rules: Validity) -> None:
        decide.decide(state, course)

    def evolve(self, state: Wallet, input: Input, facts: Sequence[Fact], note: None) -> None:
        evolve.evolve(state, input, facts)

    def merge(self, survivor: Wallet, other: Wallet, merging: Merging) -> None:
        merge.merge(survivor, other, merging)

    async def project(self, tx: Tx, applied: Sequence[Applied[Any]], partitions: int, zone: tzinfo) -> None:
        await project(tx, applied, partitions, zone)

    async def keep(self, tx: Tx, customers: Sequence[UUID], partitions: int, zone: tzinfo) -> None:
        await keep(tx, customers, zone)

    def shown(self, state: Wallet) -> dict[str, Any]:
        return {"points": state.balance}

    def api(self, part: ConsumerService, handler: DeciderHandler[Any, Any], live: Live) -> Sequence[APIRouter]:
        return [api.of_customers(part, handler), api.of_all(part)]
