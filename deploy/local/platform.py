"""The whole platform on this machine: PostgreSQL, Kafka if asked for, migrations, the five services, tokens."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from deploy.local import child, tokens
from deploy.local.kafka import Kafka
from deploy.local.migration import migrate
from deploy.local.owner import Owner
from deploy.local.place import make_home
from deploy.local.ports import HOST, kafka_ports, refuse_taken, service_ports
from deploy.local.postgres import Postgres
from deploy.local.service import Service
from deploy.local.supervisor import Part, Supervisor, together
from libs.common.contracts.registry import SERVICES

DATABASE = "rapport"
Log = Literal["postgres", "kafka"]


class Platform:
    """`async with Platform(home=…, port_base=…) as platform:` runs everything; on leaving, however, all is stopped.

    `platform.urls["ingest"]` and so on are base URLs, `platform.tokens["write_key"]` (`marketer`, `analyst`, `operator`) the
    development tokens, `platform.dsn` the database. Raises LocalError with a sentence for a person when it cannot start.
    `env` is given to the services and migrations beside the settings that are fixed here. `fsync=False` is for tests.
    """

    def __init__(
        self,
        *,
        home: Path,
        port_base: int,
        log: Log = "postgres",
        partitions: int = 8,
        fsync: bool = True,
        env: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.home = home.resolve()
        self.log = log
        self._ports = service_ports(port_base)
        self._kafka_ports = kafka_ports(port_base)
        self._partitions = partitions
        self._fsync = fsync
        self._env = dict(env or {})
        self._say = say
        self._owner: Owner | None = None
        self.supervisor = Supervisor(say)
        self._watch: asyncio.Task[None] | None = None
        self.urls = {name: f"http://{HOST}:{port}" for name, port in self._ports.items()}
        self.tokens: dict[str, str] = {}
        self.services: dict[str, Service] = {}
        self.postgres: Postgres | None = None
        self.kafka: Kafka | None = None
        self.dsn = ""

    async def __aenter__(self) -> Self:
        make_home(self.home)
        self._owner = Owner(self.home, "runner").acquire()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        for name in (*SERVICES, "migrate"):
            if child.end_leftover(self.home / "run" / f"{name}.json"):
                self._say(f"Ended {name}, which a killed runner had left running.")
        refuse_taken(self._ports)
        if self.log == "kafka":
            self.kafka = Kafka(self.home, *self._kafka_ports, self._say)
            self.kafka.claim()
        self.postgres = Postgres(self.home, fsync=self._fsync)
        tokens.make_keys(self.home)
        stateful: list[Part] = [self.postgres, *([self.kafka] if self.kafka else [])]
        await together(*(self.supervisor.start([part]) for part in stateful))
        self.dsn = await asyncio.to_thread(self.postgres.create_database, DATABASE)
        await migrate(self.home, self.environment("ingest"))
        for name in SERVICES:
            argv = [sys.executable, "-m", f"services.{name}"]
            self.services[name] = Service(name, argv, self.environment(name), self.home, self._ports[name])
        currency = self.environment("ingest").get("RAPPORT_DEFAULT_CURRENCY", "USD")
        self.tokens = await tokens.development_tokens(self.home, self.dsn, currency)
        await self.supervisor.start(list(self.services.values()))
        self._watch = asyncio.create_task(self.supervisor.watch())

    async def _stop(self) -> None:
        try:
            if self._watch:
                self._watch.cancel()
                with suppress(asyncio.CancelledError):
                    await self._watch
            await self.supervisor.stop()
        finally:
            if self.kafka:
                self.kafka.stop()
            if self._owner:
                self._owner.release()

    def environment(self, service: str) -> dict[str, str]:
        """What a service (and `rapport migrate`) is given: everything it needs to know is in the environment."""
        settings = {
            "RAPPORT_HOME": str(self.home),
            "RAPPORT_DATABASE_URL": self.dsn,
            "RAPPORT_LOG": self.log,
            "RAPPORT_HOST": HOST,
            "RAPPORT_PORT": str(self._ports[service]),
            "RAPPORT_JWT_PUBLIC_KEY_FILE": str(tokens.public_key_file(self.home)),
            "RAPPORT_CUSTOMER_PUBLIC_KEY_FILE": str(tokens.customer_public_key_file(self.home)),
            "RAPPORT_INGEST_HASH_KEY_FILE": str(tokens.hash_key_file(self.home)),
            "RAPPORT_PROFILE_CONSENT_SECRET_FILE": str(tokens.consent_secret_file(self.home)),
            "RAPPORT_INSTALLATION_KEY_FILE": str(tokens.installation_key_file(self.home)),
            "RAPPORT_PROFILE_SERVICE_URLS": ",".join(f"{name}={url}" for name, url in self.urls.items()),
            "RAPPORT_PARTITIONS": str(self._partitions),
        }
        if self.kafka:
            settings["RAPPORT_KAFKA_BOOTSTRAP"] = self.kafka.bootstrap
        return {**os.environ, "PYTHONUNBUFFERED": "1", **self._env, **settings}
