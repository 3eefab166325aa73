"""The ports that a local Rapport uses, and whether they are free."""

import random
import socket
from collections.abc import Mapping

from deploy.local.errors import LocalError, PortTaken
from libs.common.contracts.registry import SERVICES

HOST = "127.0.0.1"
KAFKA, KAFKA_CONTROLLER = 10, 11  # beyond the base
SPAN = 12
#: Where free bases are looked for: below the range that the system gives to outgoing connections.
BASES = range(10_000, 32_000)


def service_ports(base: int) -> dict[str, int]:
    """Each service's port: the base and the four after it."""
    return {name: base + offset for offset, name in enumerate(SERVICES)}


def kafka_ports(base: int) -> tuple[int, int]:
    """The broker's port and its controller's."""
    return base + KAFKA, base + KAFKA_CONTROLLER


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Raises PortTaken, which names the port, its purpose and the variable that moves it."""
    for name, port in ports.items():
        if not 1 <= port <= 65535:
            raise LocalError(f"RAPPORT_PORT_BASE leads to port {port} for {name}: choose one between 1024 and 65000.")
        if not is_free(port):
            raise PortTaken(
                f"Port {port} for {name} is taken. Stop what listens there, or set RAPPORT_PORT_BASE to another number "
                f"(that one and the {len(SERVICES) - 1} after it are the services', +{KAFKA} and +{KAFKA_CONTROLLER} Kafka's)."
            )


def is_free(port: int) -> bool:
    """Whether this process could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_base() -> int:
    """A base out of `BASES` from which all our ports are free now. Raises PortTaken."""
    for _ in range(1000):
        base = random.choice(BASES)  # noqa: S311 - no secret
        if all(is_free(base + offset) for offset in range(SPAN)):
            return base
    raise PortTaken("This machine has no twelve free ports in a row.")
