"""`rapport move-to-kafka`: moves a running installation from PostgreSQL's log to Kafka's. Loses and doubles nothing.

Afterwards ingest answers 503, and clients send again, until the services are started again with RAPPORT_LOG=kafka.
"""

from deploy.replay.installation import settings_of
from deploy.replay.main import run
from libs.common.contracts.registry import SERVICES
from libs.common.log.move_to_kafka import move


def main() -> int:
    """Exit codes: 0, moved (also if it was before); 1, it failed, and nothing has changed."""
    return run("move-to-kafka", _main)


async def _main() -> int:
    heads = await move({service: await settings_of(service) for service in SERVICES})
    for tp, next in sorted(heads.items()):
        print(f"{tp}: closed at {next:,}")
    print("Now start all services again with RAPPORT_LOG=kafka; until then ingest answers 503.")
    return 0
