"""Homes for local parts, and processes that own them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from deploy.local.service import ROOT
from tests.conftest import free_port, new_home


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path, below one that other accounts may not enter (as a person's own folder is)."""
    folder = new_home("rl-")
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def owner() -> Iterator[Callable[..., tuple[subprocess.Popen[str], int]]]:
    """Starts a process that owns a part; gives it and the part's pid."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-m", "tests.integration.local.owner_process", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        started.append(process)
        assert process.stdout
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until it has: it will not notice the end of its owner, as on a system that tells it nothing."""
    os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED))


def eventually(condition: Callable[[], bool], within: float = 60) -> bool:
    """Whether it becomes true within so many seconds."""
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
