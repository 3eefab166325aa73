"""What is measured: PostgreSQL (and Kafka) as `make run` has them, and those services that a measurement wants."""

import asyncio
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterable
from os import environ
from pathlib import Path
from typing import Literal, Self

import httpx

from deploy.local import tokens
from deploy.local.kafka import Kafka
from deploy.local.place import make_home
from deploy.local.ports import HOST, free_base, kafka_ports, service_ports
from deploy.local.postgres import Postgres
from deploy.local.service import Service
from libs.common.contracts.registry import SERVICES
from tests.bench.load import drive, request
from tests.e2e.test_loop import HOOK, PROGRAMME

READERS = SERVICES[1:]
Log = Literal["postgres", "kafka"]


class Installation:
    """`async with`: the servers run; `use` a database, `start` services. Nobody watches over them, as that costs CPU.

    `sent` counts the events that ingest has accepted into the database in use.
    """

    def __init__(self, home: Path, log: Log = "postgres") -> None:
        base = free_base()
        self.home = home
        self.log = log
        self.dsn = ""
        self.sent = 0
        self.write_key = ""
        self.services: dict[str, Service] = {}
        self.postgres = Postgres(home, settings={"track_commit_timestamp": "on"})  # tells when something became visible
        self.kafka = Kafka(home, *kafka_ports(base), lambda _: None) if log == "kafka" else None
        self.ports = service_ports(base)

    async def __aenter__(self) -> Self:
        make_home(self.home)
        tokens.make_keys(self.home)
        try:
            self.postgres.start()
            if self.kafka:
                self.kafka.start()
            await self.use("rapport")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop(list(self.services))
        if self.kafka:
            self.kafka.stop()
        self.postgres.stop()

    async def use(self, database: str, template: str | None = None) -> None:
        """Make a database, migrated (or as a copy, to which nobody may be connected), and use it from now on."""
        self.dsn, self.sent = await asyncio.to_thread(self.postgres.create_database, database, template), 0
        migrate = [sys.executable, "-m", "services.migrate"]
        await asyncio.to_thread(
            subprocess.run, migrate, env=self.environment("ingest"), check=True, stdout=subprocess.DEVNULL
        )

    def environment(self, service: str, port: int | None = None) -> dict[str, str]:
        """What a service is given, as `make run` gives it."""
        settings = {
            "RAPPORT_HOME": str(self.home),
            "RAPPORT_DATABASE_URL": self.dsn,
            "RAPPORT_LOG": self.log,
            "RAPPORT_HOST": HOST,
            "RAPPORT_PORT": str(port or self.ports[service]),
            "RAPPORT_JWT_PUBLIC_KEY_FILE": str(tokens.public_key_file(self.home)),
            "RAPPORT_CUSTOMER_PUBLIC_KEY_FILE": str(tokens.customer_public_key_file(self.home)),
            "RAPPORT_INGEST_HASH_KEY_FILE": str(tokens.hash_key_file(self.home)),
            "RAPPORT_PROFILE_CONSENT_SECRET_FILE": str(tokens.consent_secret_file(self.home)),
            "RAPPORT_PARTITIONS": "8",
        }
        if self.kafka:
            settings["RAPPORT_KAFKA_BOOTSTRAP"] = self.kafka.bootstrap
        return {**environ, "PYTHONUNBUFFERED": "1", **settings}

    async def start(self, names: Iterable[str] = SERVICES, *, second: bool = False) -> None:
        """Start services (or a second process of each), and wait until they are ready."""
        started = []
        for name in names:
            port = free_base() if second else self.ports[name]
            known = f"{name}-2" if second else name
            argv = [sys.executable, "-m", f"services.{name}"]
            service = Service(known, argv, self.environment(name, port), self.home, port)
            service.launch()
            self.services[known] = service
            started.append(service)
        await asyncio.gather(*(asyncio.to_thread(service.wait_ready) for service in started))
        if "ingest" in self.services and not self.sent:
            self.write_key = await tokens.write_key(self.dsn, "USD")

    async def stop(self, names: Iterable[str]) -> None:
        stopped = [self.services.pop(name) for name in names]
        await asyncio.gather(*(asyncio.to_thread(service.stop) for service in stopped))

    def url(self, service: str) -> str:
        return f"http://{HOST}:{self.ports[service]}"

    def token(self, role: str = "marketer") -> str:
        """An Authorization header's value."""
        return f"Bearer {tokens.mint(tokens.private_key_file(self.home), tokens.ROLES[role], role)}"

    @property
    def basic(self) -> str:
        """The Authorization header's value for ingest."""
        return "Basic " + b64encode(f"{self.write_key}:".encode()).decode()

    async def publish_rules(self) -> None:
        """A programme with earning, levels and a badge; a hook with a condition, a text and a cap."""
        async with httpx.AsyncClient(headers={"authorization": self.token()}, timeout=60) as client:
            for url, body in (
                (f"{self.url('rewards')}/v1/programmes", PROGRAMME),
                (f"{self.url('triggers')}/v1/hooks", HOOK),
            ):
                made = (await client.post(url, json=body)).raise_for_status().json()
                (await client.post(f"{url}/{made['id']}/publish")).raise_for_status()

    async def send(self, batches: Iterable[bytes], connections: int = 16) -> float:
        """POST bodies of batches; events/s accepted."""
        counted = 0

        def requests() -> Iterable[bytes]:
            nonlocal counted
            for body in batches:
                counted += body.count(b'"messageId"')
                yield request("/v1/batch", body, self.basic)

        load = await drive(self.ports["ingest"], iter(requests()), connections)
        self.sent += counted
        return counted / load.seconds
