"""`python -m services.migrate` (`rapport migrate`): bring the databases of all services to the newest schema.

It runs under an advisory lock, so two of them at once wait for each other.
"""

import asyncio
import sys

from libs.common.contracts.registry import SERVICES
from libs.common.db.migrate import migrate
from libs.common.errors import Unavailable
from libs.common.settings import Settings
from services.connections import service_settings, summary


async def migrate_all() -> None:
    """Migrate every database that the services' settings name: each gets the log and its services' histories."""
    databases: dict[str, tuple[Settings, list[str]]] = {}
    services = {service: service_settings(service) for service in SERVICES}
    for service, settings in services.items():
        databases.setdefault(settings.dsn, (settings, ["log"]))[1].append(service)
    for settings, histories in databases.values():
        await migrate(settings, tuple(histories))
        print(f"migrated {', '.join(histories)}")
    print(summary(services))


def main() -> int:
    """Returns the exit code: 1 when a database cannot be migrated, with the reason on stderr."""
    try:
        asyncio.run(migrate_all())
    except (Unavailable, ValueError, OSError) as error:
        print(f"rapport migrate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
