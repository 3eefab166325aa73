"""The services of this installation, registered: one line each. What all of them declare, taken together."""

from typing import Literal, TypeAlias

from libs.common.contracts import ingest, metrics, profile, rewards, triggers
from libs.common.contracts.contract import Contract, Role
from libs.common.contracts.records import Fact

#: In the order of their ports.
CONTRACTS: tuple[Contract, ...] = (
    ingest.CONTRACT,
    profile.CONTRACT,
    rewards.CONTRACT,
    triggers.CONTRACT,
    metrics.CONTRACT,
)
SERVICES = tuple(contract.service for contract in CONTRACTS)
TOPICS = tuple(contract.topic for contract in CONTRACTS)
TOPIC_NAMES = tuple(topic.name for topic in TOPICS)
#: Every type of fact.
BY_TYPE: dict[str, type[Fact]] = {fact.TYPE: fact for contract in CONTRACTS for fact in contract.facts}

#: What a person's or program's token may hold. No service owns `operate`: dead letters, and what an operator mends in any of them.
Scope: TypeAlias = Literal["operate"] | ingest.Scope | profile.Scope | rewards.Scope | triggers.Scope | metrics.Scope
#: What a customer's own token may hold: their own consents, points and inbox.
OwnScope: TypeAlias = profile.OwnScope | rewards.OwnScope | triggers.OwnScope
SCOPES: dict[str, tuple[Role, ...]] = dict(
    sorted([("operate", ("operator",)), *(item for contract in CONTRACTS for item in contract.scopes.items())])
)
OWN_SCOPES = tuple(scope for contract in CONTRACTS for scope in contract.own_scopes)


def contract_of(service: str) -> Contract:
    """A service's contract. Raises LookupError when none of this name is registered."""
    for contract in CONTRACTS:
        if contract.service == service:
            return contract
    raise LookupError(f"no service {service} is registered")


def written_by(service: str) -> str:
    """The topic that a service writes."""
    return contract_of(service).topic.name


def read_by(service: str) -> list[str]:
    """The topics that a service reads."""
    return [topic.name for topic in TOPICS if service in topic.readers]


def notified_at_once(service: str | None = None) -> list[str]:
    """The topics of whose records some reader (or `service`) is notified after the commit."""
    return [topic.name for topic in TOPICS if topic.at_once and (service is None or service in topic.at_once)]


def scopes_of(role: Role) -> tuple[str, ...]:
    """The scopes that a role holds."""
    return tuple(scope for scope, roles in SCOPES.items() if role in roles)
