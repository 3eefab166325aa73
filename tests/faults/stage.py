"""The platform that runs are played on: started once for several of them, with handles for whoever strikes it."""

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
import httpx
import jwt

from deploy.local import tokens
from deploy.local.platform import DATABASE, Log, Platform
from deploy.local.ports import free_base
from deploy.local.service import Service
from tests.conftest import free_port
from tests.faults import shop
from tests.faults.disk import Disk
from tests.integration.triggers.receiver import Receiver

FOLDS = ("profile", "rewards", "triggers", "metrics")
WEBHOOK_SECONDS = 5
INSIDE = Path(__file__).parent / "inside"
ENDED = re.compile(r"(\S+) ended \(")


class Stage:
    """`async with Stage(home, "kafka") as stage:` the platform, a receiver of webhooks, the shop's rules published."""

    def __init__(self, home: Path, log: Log, disk: Disk | None = None) -> None:
        self.home = home
        self.log: Log = log
        self.disk = disk
        self.receiver = Receiver()
        self.hooks: dict[str, str] = {}
        #: How often each part ended and was started again; and how often it may have.
        self.restarts: Counter[str] = Counter()
        self.explained: Counter[str] = Counter()
        #: What strikes PostgreSQL's processes takes turns: a server that stands still while it starts is no fault that there is.
        self.server_turn = asyncio.Lock()
        #: Points of the code at which a process was killed in this run.
        self.reached: list[str] = []
        self.said: list[str] = []
        self.failed = False
        self.platform = Platform(
            home=home,
            port_base=free_base(),
            log=log,
            fsync=False,
            say=self._hear,
            env={
                "RAPPORT_TRIGGERS_WEBHOOK_ALLOW": "127.0.0.0/8",
                "RAPPORT_TRIGGERS_WEBHOOK_SECONDS": str(WEBHOOK_SECONDS),
                "FAULTS_INSIDE": str(home / "inside"),
                "PYTHONPATH": str(INSIDE),
            },
        )
        self.http = httpx.AsyncClient(timeout=10, limits=httpx.Limits(max_connections=20))

    async def __aenter__(self) -> Self:
        (self.home / "inside").mkdir(parents=True)
        if self.disk:
            self.disk.mount()
        self.receiver.__enter__()
        try:
            await self.platform.__aenter__()
            self._backdate_tokens()
            await self._publish()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()
        await self.platform.__aexit__(kind, error, trace)
        self.receiver.__exit__()
        if self.disk:
            self.disk.unmount(keep=self.failed)

    # -- asking ---------------------------------------------------------------------------------------------------------
    async def get(self, service: str, path: str, role: str = "marketer") -> httpx.Response:
        """GET as somebody; the answer may be any."""
        return await self.http.get(self.platform.urls[service] + path, headers=self.bearer(role))

    async def post(self, service: str, path: str, body: Any = None, role: str = "marketer") -> Any:
        """POST as somebody; the answer must be one of 2xx."""
        answer = await self.http.post(self.platform.urls[service] + path, json=body, headers=self.bearer(role))
        assert answer.is_success, f"POST {path} was answered {answer.status_code}: {answer.text[:500]}"
        return answer.json()

    async def database(self) -> "asyncpg.Connection[Any]":
        """A connection of our own, which no timeout of the services' ends."""
        return await asyncpg.connect(self.platform.dsn, server_settings={"application_name": "faults"}, timeout=5)

    @property
    def superuser(self) -> str:
        """The address of PostgreSQL for its own superuser."""
        assert self.platform.postgres is not None
        return self.platform.postgres.superuser_dsn()

    @property
    def database_of_superuser(self) -> str:
        """The platform's database, for the superuser."""
        assert self.platform.postgres is not None
        return self.platform.postgres.superuser_dsn(DATABASE)

    def bearer(self, role: str) -> dict[str, str]:
        """The header that says who asks."""
        return {"authorization": f"Bearer {self.platform.tokens[role]}"}

    # -- striking -------------------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """A new run: nothing has died yet, and who dies first is started again soon."""
        self.platform.supervisor.forget_failures()
        self.restarts.clear()
        self.explained.clear()
        self.reached.clear()

    def pid(self, part: str) -> int | None:
        """Of a service, of `postgres` or of `kafka`; None while it is not running."""
        platform = self.platform
        found = {"postgres": platform.postgres, "kafka": platform.kafka}.get(part) or platform.services[part]
        return found.pid

    def kill(self, service: str) -> None:
        """SIGKILL; the supervisor starts it again."""
        self.explained[service] += 1
        self.platform.services[service].kill()

    def arm(self, service: str, points: str) -> None:
        """Within a twentieth of a second a running service dies at these points (RAPPORT_FAILPOINTS), or at none."""
        self._tell(f"services.{service}.points", points)

    def hold_back(self, part: str, seconds: float) -> None:
        """The supervisor starts the part again only so many seconds from now."""
        self.platform.supervisor.hold_back(part, seconds)

    def another(self, service: str, name: str) -> Service:
        """One more process of a service, not supervised; `launch` starts it."""
        port = free_port()
        env = {**self.platform.environment(service), "RAPPORT_PORT": str(port)}
        return Service(name, [sys.executable, "-m", f"services.{service}"], env, self.home, port)

    def set_clock(self, service: str, shift: float) -> None:
        """Within a twentieth of a second the service's clock is so many seconds ahead."""
        self._tell(f"services.{service}.clock", str(shift))

    def _tell(self, file: str, text: str) -> None:
        """Written beside its place and moved there, so that nobody reads half of it."""
        new = self.home / "inside" / f"{file}.new"
        new.write_text(text)
        new.rename(self.home / "inside" / file)

    def _hear(self, text: str) -> None:
        self.said.append(text)
        if found := ENDED.match(text):
            self.restarts[found[1]] += 1

    # -- setting up -----------------------------------------------------------------------------------------------------
    def _backdate_tokens(self) -> None:
        """Tokens of an identity provider that was asked two hours ago: a service whose clock goes back takes them too."""
        key = tokens.private_key_file(self.home).read_text()
        now = int(time.time())
        claims: Mapping[str, Any] = {"iss": "rapport", "aud": "rapport", "iat": now - 7200, "exp": now + 12 * 3600}
        for role, scope in tokens.ROLES.items():
            token = jwt.encode({**claims, "sub": f"faults-{role}", "scope": scope}, key, algorithm="EdDSA")
            self.platform.tokens[role] = token

    async def _publish(self) -> None:
        programme = await self.post("rewards", "/v1/programmes", shop.PROGRAMME)
        await self.post("rewards", f"/v1/programmes/{programme['id']}/publish")
        trait = await self.post("profile", "/v1/computed-traits", shop.COMPUTED_TRAIT)
        await self.post("profile", f"/v1/computed-traits/{trait['id']}/publish")
        for name, when in shop.SEGMENTS.items():
            segment = await self.post("profile", "/v1/segments", {"name": name, "when": when})
            await self.post("profile", f"/v1/segments/{segment['id']}/publish")
        for name, hook in shop.hooks(self.receiver.url).items():
            made = await self.post("triggers", "/v1/hooks", hook)
            await self.post("triggers", f"/v1/hooks/{made['id']}/publish")
            self.hooks[name] = made["id"]
