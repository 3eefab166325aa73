"""What the services' settings, taken together, ask of PostgreSQL: how many connections at most.

Each process has its pool; one with a fold has beside it the fold's pool, a session that listens and one that holds its
partitions, and with Kafka the last two again for its forwarder.
"""

from collections.abc import Mapping

from libs.common.contracts.registry import SERVICES, read_by
from libs.common.fold.service import CONNECTIONS
from libs.common.log.postgres import LISTEN_CONNECTIONS
from libs.common.settings import Settings
from services.ingest.settings import Settings as Ingest
from services.metrics.settings import Settings as Metrics
from services.profile.settings import Settings as Profile
from services.rewards.settings import Settings as Rewards
from services.triggers.settings import Settings as Triggers

SESSION = 1
SETTINGS: dict[str, type[Settings]] = {
    "ingest": Ingest,
    "profile": Profile,
    "rewards": Rewards,
    "triggers": Triggers,
    "metrics": Metrics,
}


def service_settings(service: str) -> Settings:
    """A service's own settings, read from the environment (so that each may have its own database)."""
    return SETTINGS[service].load(service)


def at_most(service: str, settings: Settings) -> int:
    """How many connections one process of a service may hold."""
    if not read_by(service):
        return settings.pool_size
    readers = 2 if settings.log == "kafka" else 1
    return settings.pool_size + CONNECTIONS + readers * (LISTEN_CONNECTIONS + SESSION)


def summary(settings: Mapping[str, Settings] | None = None) -> str:
    """The sum for one process of each service, in a sentence. The settings are the environment's if none are given."""
    given = settings or {service: service_settings(service) for service in SERVICES}
    most = {service: at_most(service, each) for service, each in given.items()}
    parts = ", ".join(f"{service} {number}" for service, number in most.items())
    return f"PostgreSQL connections: at most {sum(most.values())} ({parts})"
