"""What a service declares to the others: its topic, its facts, its scopes. Each has a file of its own beside this one."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from libs.common.contracts.records import Fact

Role = Literal["marketer", "analyst", "operator"]
"""What a person's token may be made for; a role holds the scopes that name it."""


class Topic(NamedTuple):
    """A log: the one service that writes it, what its key is, what it says, and which services read it.

    Readers `at_once` are notified after the commit: immediately of records whose names a rule uses, of the rest within 0.1 s.
    All other readers look at the heads now and then, which costs them and the log far less.
    """

    name: str
    writer: str
    key: str
    says: str
    readers: tuple[str, ...]
    at_once: tuple[str, ...] = ()


class Contract(NamedTuple):
    """One service's contract. `scopes` are those that its routes ask for, each with the roles that hold it; `own_scopes` are
    what a customer's own token may hold."""

    topic: Topic
    facts: tuple[type[Fact], ...] = ()
    scopes: Mapping[str, tuple[Role, ...]] = {}
    own_scopes: tuple[str, ...] = ()

    @property
    def service(self) -> str:
        return self.topic.writer
