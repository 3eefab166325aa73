"""What metrics declares: its facts on scores, and who may read figures and fit models."""

from datetime import date
from typing import ClassVar, Literal

from libs.common.contracts.contract import Contract, Topic
from libs.common.contracts.records import Fact

METRICS = "metrics.facts"
Scope = Literal["metrics:read", "metrics:write"]


class ScoreChanged(Fact, frozen=True, kw_only=True):
    """A fit moved the customer to another risk or value band. `cltv` is in major units of `currency`, 12 months."""

    TYPE: ClassVar[str] = "score.changed.v1"
    fit: str
    as_of: date
    risk: float
    risk_band: str
    cltv: float
    value_band: str
    currency: str

    @property
    def effect(self) -> str:
        return self.fit


CONTRACT = Contract(
    Topic(METRICS, "metrics", "customer id", "risk and value bands that metrics found changed", ("profile",)),
    (ScoreChanged,),
    {"metrics:read": ("marketer", "analyst", "operator"), "metrics:write": ("analyst",)},
)
