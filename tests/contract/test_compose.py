"""docker-compose.yml and the image: what they say fits together, and the services run on exactly what they are given."""

import json
import os
import re
import stat
import subprocess
import sys
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]

from deploy import compose
from deploy.local import tokens
from deploy.local.cluster import programs
from deploy.local.ports import service_ports
from deploy.local.postgres import Postgres
from deploy.local.service import ROOT, Service
from libs.common.contracts.registry import SERVICES
from libs.common.http.auth.verifier import Verifier
from libs.common.settings import Settings
from services import connections
from tests.conftest import free_port

FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
CONTAINERS: dict[str, Any] = FILE["services"]
OURS = ("migrate", *SERVICES)
TOP = {"name", "services", "configs", "secrets", "volumes", "x-service"}
KEYS = {
    "image", "pull_policy", "build", "command", "environment", "secrets", "configs", "volumes", "ports", "depends_on",
    "healthcheck", "init", "read_only", "tmpfs", "cap_drop", "security_opt", "shm_size", "restart", "stop_signal",
    "stop_grace_period",
}  # fmt: skip
CONDITIONS = {"service_healthy", "service_completed_successfully"}
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each with its words."""
    text = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def health_command() -> list[str]:
    """What Docker runs in a container to learn of its health."""
    (said,) = [words for name, words in instructions() if name == "HEALTHCHECK"]
    command: list[str] = json.loads(said.partition("CMD ")[2])
    return command


def test_only_what_compose_knows_is_said() -> None:
    assert FILE.keys() <= TOP
    for name, container in CONTAINERS.items():
        assert container.keys() <= KEYS, name
        assert all(isinstance(value, str) for value in container["environment"].values()), name


def test_nothing_else_keeps_state() -> None:
    assert CONTAINERS.keys() == {"postgres", "kafka", *OURS}
    assert {name for name, container in CONTAINERS.items() if "volumes" in container} == {"postgres", "kafka"}
    assert all(CONTAINERS[name]["read_only"] for name in OURS)


def test_images_come_without_a_registry_and_with_a_version() -> None:
    bases = [words for name, words in instructions() if name == "FROM"]
    for image in (*bases, *(container["image"] for container in CONTAINERS.values())):
        assert re.fullmatch(r"(\w+/)?\w+:\d[\w.-]*", image), image


def test_each_part_waits_for_what_it_needs() -> None:
    for name, container in CONTAINERS.items():
        for other, how in container.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS, name
            healthy = how["condition"] == "service_healthy"
            assert not healthy or "healthcheck" in CONTAINERS[other] or other in SERVICES
    assert CONTAINERS["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in SERVICES:
        waits = {other: how["condition"] for other, how in CONTAINERS[name]["depends_on"].items()}
        assert waits == {"migrate": "service_completed_successfully", "kafka": "service_healthy"}


def test_what_is_mounted_is_declared_and_kept() -> None:
    for kind in ("secrets", "configs", "volumes"):
        used: set[str] = set()
        for container in CONTAINERS.values():
            for mounted in container.get(kind, []):
                used.add(mounted["source"] if isinstance(mounted, dict) else mounted.partition(":")[0])
        assert used == FILE[kind].keys()
    # since 18 the image keeps its data in a folder of its version below this one
    assert CONTAINERS["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert CONTAINERS["kafka"]["volumes"] == [f"kafka:{CONTAINERS['kafka']['environment']['KAFKA_LOG_DIRS']}"]
    for config in FILE["configs"].values():
        assert (ROOT / config["file"]).is_file()


def test_the_services_are_on_their_ports_on_this_machine_only() -> None:
    inner = {name: CONTAINERS[name]["environment"]["RAPPORT_PORT"] for name in SERVICES}
    for name, port in service_ports(8001).items():
        assert CONTAINERS[name]["ports"] == [f"127.0.0.1:{port}:{inner[name]}"]
    assert {name for name, container in CONTAINERS.items() if "ports" in container} == set(SERVICES)


def test_every_variable_is_a_setting() -> None:
    for name in OURS:
        settings = connections.service_settings(name) if name in SERVICES else Settings()
        fields = [field.upper() for field in type(settings).model_fields]
        known = {f"RAPPORT_{field}" for field in fields} | {f"RAPPORT_{name.upper()}_{field}" for field in fields}
        assert CONTAINERS[name]["environment"].keys() <= known, name
    assert Settings().partitions == int(CONTAINERS["ingest"]["environment"]["RAPPORT_PARTITIONS"])


def test_the_image_holds_what_it_runs_and_nothing_else() -> None:
    written = instructions()
    copied = [words.split()[0] for name, words in written if name == "COPY"]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied)
    assert all((ROOT / path).exists() for path in copied)
    (user,) = [words for name, words in written if name == "USER"]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert written.index(("USER", user)) > max(i for i, (name, _) in enumerate(written) if name in ("RUN", "COPY"))
    for name in OURS:
        python, dash, module = CONTAINERS[name]["command"]
        assert (python, dash) == ("python", "-m")
        assert module.split(".")[0] in copied


def test_the_lock_of_the_image_is_hashed_and_complete() -> None:
    lock = (ROOT / "deploy/requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[\[<>=~ ]", dependency)[0].lower() for dependency in project["dependencies"]}
    assert wanted <= pinned
    assert "://" not in lock
    entries = [entry for entry in re.split(r"\n(?=\S)", lock) if not entry.startswith("#")]
    assert all("--hash=sha256:" in entry for entry in entries if entry.strip())


def test_secrets_are_made_once_and_sign_tokens(tmp_path: Path) -> None:
    folder = compose.make_secrets(tmp_path)
    files = {file.name: file.read_text() for file in folder.iterdir()}
    named = {Path(secret["file"]).name for secret in FILE["secrets"].values()}
    assert files.keys() == {*named, "jwt-private-key.pem", "customer-private-key.pem"}
    assert {Path(secret["file"]).parent for secret in FILE["secrets"].values()} == {
        compose.HOME.relative_to(ROOT) / "secrets"
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {name: stat.S_IMODE((folder / name).stat().st_mode) for name in files} == {
        **dict.fromkeys(named, 0o644),
        "jwt-private-key.pem": 0o600,
        "customer-private-key.pem": 0o600,
    }
    compose.make_secrets(tmp_path)
    assert {file.name: file.read_text() for file in folder.iterdir()} == files
    environment = {**os.environ, "RAPPORT_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "deploy.cli", "token", "--role", "operator"]
    token = subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    who = Verifier(Settings(jwt_public_key=files["jwt-public-key.pem"])).verify(token)
    assert "sources:write" in who.scopes


class Running:
    """The containers as processes: the file's commands and variables, with hosts, ports and paths of this machine."""

    def __init__(self, home: Path, postgres: Postgres, kafka: str) -> None:
        self.home = home
        self.secrets = compose.make_secrets(home)
        self.role = f"compose_{uuid.uuid4().hex[:12]}"
        self.kafka = kafka
        self.sockets = re.sub(r".*\?", "", postgres.dsn("any"))
        self._make_role(postgres)
        self.services: list[Service] = []

    def argv(self, name: str) -> list[str]:
        return [sys.executable, *CONTAINERS[name]["command"][1:]]

    def environment(self, name: str, port: int = 0) -> dict[str, str]:
        given = {key: self._here(value) for key, value in CONTAINERS[name]["environment"].items()}
        assert given["RAPPORT_HOST"] == "0.0.0.0"  # noqa: S104 - as it is in a container
        own = {"RAPPORT_HOST": "127.0.0.1", "RAPPORT_PORT": str(port), "RAPPORT_TOPIC_PREFIX": f"{self.role}."}
        return {"PATH": os.environ["PATH"], **given, **own}

    def start(self, name: str) -> Service:
        port = free_port()
        service = Service(name, self.argv(name), self.environment(name, port), self.home, port)
        service.launch()
        self.services.append(service)
        return service

    def stop(self) -> None:
        for service in self.services:
            service.stop()

    def _here(self, value: str) -> str:
        value = VARIABLE.sub(lambda found: found[2], value)
        value = value.replace("rapport@postgres:5432/rapport", f"{self.role}@/{self.role}?{self.sockets}")
        value = self.kafka if value == "kafka:9092" else value
        for name, secret in FILE["secrets"].items():
            value = value.replace(f"/run/secrets/{name}", str(self.secrets / Path(secret["file"]).name))
        return value

    def _make_role(self, postgres: Postgres) -> None:
        """What the postgres image does with our file on an empty volume, under a name that is free here."""
        (config,) = CONTAINERS["postgres"]["configs"]
        text = (ROOT / FILE["configs"][config["source"]]["file"]).read_text()
        text = re.sub(r"\brapport\b", self.role, self._here(text))
        file = self.home / Path(config["target"]).name
        file.write_text(text)
        words = ["--no-psqlrc", "--no-password", "-v", "ON_ERROR_STOP=1", "-f", str(file)]
        subprocess.run([programs() / "psql", *words, postgres.superuser_dsn()], check=True, capture_output=True)


@pytest.fixture
def running(tmp_path: Path, postgres: Postgres, kafka_bootstrap: str) -> Iterator[Running]:
    containers = Running(tmp_path, postgres, kafka_bootstrap)
    yield containers
    containers.stop()


def test_the_services_run_on_what_the_file_gives_them(running: Running) -> None:
    subprocess.run(running.argv("migrate"), cwd=ROOT, env=running.environment("migrate"), check=True)
    services = {name: running.start(name) for name in SERVICES}
    for service in services.values():
        service.wait_ready()
        assert healthy(service)
    key = tokens.private_key_file(running.home)
    operator, marketer = (tokens.mint(key, tokens.ROLES[role], role) for role in ("operator", "marketer"))
    asks = {"authorization": f"Bearer {operator}"}
    source = httpx.post(f"{services['ingest'].url}/v1/sources", json={"name": "development"}, headers=asks, timeout=30)
    write_key = source.raise_for_status().json()["write_key"]
    with httpx.Client(headers={"authorization": f"Bearer {marketer}"}, timeout=30) as http:
        rewards = services["rewards"].url
        rule = {"id": "per-dollar", "on": "Order Completed", "earn": {"points": 1, "per": 1, "of": "revenue"}}
        draft = http.post(f"{rewards}/v1/programmes", json={"name": "Composed", "earning": [rule]}).raise_for_status()
        http.post(f"{rewards}/v1/programmes/{draft.json()['id']}/publish").raise_for_status()
        order = {"userId": "ann", "event": "Order Completed", "properties": {"order_id": "1", "revenue": 29.33}}
        sent = httpx.post(f"{services['ingest'].url}/v1/track", json=order, auth=(write_key, ""), timeout=60)
        assert (sent.status_code, sent.json()["results"][0]["status"]) == (200, "warning"), sent.text  # no messageId

        def points() -> bool:
            answer = http.get(f"{rewards}/v1/customers/user:ann/points")
            return answer.status_code == 200 and answer.json()["available"] == 29

        eventually(points)
    for service in services.values():
        service.stop()
        assert service.exit_status() == 0
        assert not healthy(service)


def healthy(service: Service) -> bool:
    """What Docker would say of a container."""
    command = [sys.executable, *health_command()[1:]]
    environment = {"PATH": os.environ["PATH"], "RAPPORT_PORT": str(service.port)}
    return subprocess.run(command, env=environment, capture_output=True, timeout=20).returncode == 0


def eventually(condition: Callable[[], bool], within: float = 30) -> None:
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, f"not within {within} s"
        time.sleep(0.05)
