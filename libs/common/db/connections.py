"""What the services' settings, taken together, ask of PostgreSQL: how many connections at most.

Each process has its pool; one with a fold has beside it the fold's pool, a session that listens and one that holds its
partitions, and with Kafka the last two again for its forwarder.
"""

import importlib
from collections.abc import Mapping
from typing import cast

from libs.common.contracts.topics import read_by
from libs.common.db.schema import SERVICES
from libs.common.fold import part
from libs.common.log.postgres import LISTENING
from libs.common.settings import Settings

SESSION = 1


def service_settings(service: str) -> Settings:
    """A service's own settings class, read from the environment (so that each may have its own database)."""
    module = importlib.import_module(f"services.{service}.settings")
    return cast("type[Settings]", module.Settings).load(service)


def at_most(service: str, settings: Settings) -> int:
    """How many connections one process of a service may hold."""
    if not read_by(service):
        return settings.pool_size
    readers = 2 if settings.log == "kafka" else 1
    return settings.pool_size + part.CONNECTIONS + readers * (LISTENING + SESSION)


def summary(settings: Mapping[str, Settings] | None = None) -> str:
    """The sum for one process of each service, in a sentence. The settings are the environment's if none are given."""
    given = settings or {service: service_settings(service) for service in SERVICES}
    most = {service: at_most(service, each) for service, each in given.items()}
    parts = ", ".join(f"{service} {number}" for service, number in most.items())
    return f"PostgreSQL connections: at most {sum(most.values())} ({parts})"
