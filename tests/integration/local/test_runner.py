"""`rapport run` as a person meets it: a program in a terminal, with the real services."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from deploy.local import child, ports
from deploy.local.service import ROOT
from libs.common.contracts.registry import SERVICES
from tests.integration.local.conftest import eventually, freeze


def _interruptible() -> None:
    """Ctrl-C ends it, also where the tests run in a shell's background, which ignores that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Runner:
    """One `rapport run`; its output so far is `said`."""

    def __init__(self, home: Path, base: int) -> None:
        self.home, self.base = home, base
        home.mkdir(exist_ok=True)
        self._output = home / "said"
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "run"],
                env={**os.environ, "RAPPORT_HOME": str(home), "RAPPORT_PORT_BASE": str(base)},
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_interruptible,
            )

    @property
    def said(self) -> str:
        return self._output.read_text()

    def wait_running(self) -> "Runner":
        assert eventually(lambda: "Rapport is running" in self.said or self.process.poll() is not None, 90), self.said
        assert self.process.poll() is None, self.said
        return self

    def wait_ended(self) -> int:
        return self.process.wait(60)

    def part(self, name: str) -> int:
        return int(json.loads((self.home / "run" / f"{name}.json").read_text())["pid"])

    def not_ready(self) -> dict[str, str]:
        """The services that are not ready, with what they answer."""
        answers = {}
        for name, port in ports.service_ports(self.base).items():
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/readyz?verbose=1", timeout=5, trust_env=False)
            except httpx.TransportError as error:
                answers[name] = repr(error)
            else:
                if answer.status_code != 200:
                    answers[name] = answer.text
        return answers


def left_running(home: Path) -> list[str]:
    """Command lines of processes that have to do with this home."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("RAPPORT_HOME", "")]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if process.pid != os.getpid() and any(str(home) in word for word in words):
            found.append(" ".join(words))
    return found


@pytest.fixture
def runner(home: Path) -> Iterator[Runner]:
    running = Runner(home, ports.free_base())
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(60)


def test_a_crash_a_restart_and_a_stop(runner: Runner, home: Path) -> None:
    runner.wait_running()
    tokens = json.loads((home / "tokens.json").read_text())
    assert set(tokens) == {"write_key", "marketer", "analyst", "operator"}
    assert stat.S_IMODE((home / "tokens.json").stat().st_mode) == 0o600
    assert all(f"{url}/docs" in runner.said for url in (f"http://127.0.0.1:{runner.base + n}" for n in range(5)))
    assert "PostgreSQL connections: at most 68 (ingest 8, profile 15" in runner.said

    first = runner.part("rewards")
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: "rewards is back." in runner.said, 60), runner.said
    assert "rewards ended (killed by SIGKILL)" in runner.said
    assert runner.part("rewards") != first

    os.kill(runner.part("postgres"), signal.SIGKILL)
    assert eventually(lambda: "postgres is back." in runner.said, 60), runner.said
    assert eventually(lambda: not runner.not_ready(), 60), (runner.not_ready(), runner.said)

    os.kill(runner.part("metrics"), signal.SIGKILL)
    runner.process.send_signal(signal.SIGINT)
    assert runner.wait_ended() == 0
    assert left_running(home) == []


def test_a_killed_runner_is_cleaned_up_after(runner: Runner, home: Path) -> None:
    assert eventually(lambda: len(runner.not_ready()) < len(SERVICES), 60), runner.said
    assert (home / "tokens.json").exists()  # whoever waits until a service is ready finds it
    runner.wait_running()
    first = json.loads((home / "tokens.json").read_text())
    frozen = runner.part("profile")
    freeze(frozen)
    runner.process.kill()
    runner.process.wait()
    assert child.exists(frozen)

    second = Runner(home, runner.base)
    try:
        second.wait_running()
        assert json.loads((home / "tokens.json").read_text())["write_key"] != first["write_key"]
    finally:
        second.process.terminate()
        assert second.wait_ended() == 0
    assert left_running(home) == []
