"""What ingest declares: the topic of what client apps say, and who may manage its sources."""

from typing import Literal

from libs.common.contracts.contract import Contract, Topic

EVENTS = "ingest.events"
Scope = Literal["sources:read", "sources:write"]

CONTRACT = Contract(
    Topic(EVENTS, "ingest", "anonymousId, else userId", "what a client app said happened", ("profile",), ("profile",)),
    scopes={"sources:read": ("operator",), "sources:write": ("operator",)},
)
