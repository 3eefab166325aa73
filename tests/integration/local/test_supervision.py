"""Watching over real child processes: what dies comes back, what fails says why, nothing is left behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from deploy.local import child, ports
from deploy.local.errors import StartFailed
from deploy.local.supervisor import Supervisor
from tests.integration.local.conftest import eventually, freeze
from tests.integration.local.owner_process import stand_in

Start = Callable[..., tuple[subprocess.Popen[str], int]]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
async def supervisor(said: list[str]) -> AsyncIterator[Supervisor]:
    made = Supervisor(said.append)
    yield made
    await made.stop()


async def test_a_part_that_dies_is_started_again_and_it_says_so(
    supervisor: Supervisor, said: list[str], home: Path, port: int
) -> None:
    part = stand_in(home, port)
    await supervisor.start([part])
    first = part.pid
    assert first
    watch = asyncio.create_task(supervisor.watch())
    os.kill(first, signal.SIGKILL)
    assert await asyncio.to_thread(eventually, lambda: "stand-in is back." in said)
    watch.cancel()
    assert "stand-in ended (killed by SIGKILL): starting it again in 0.5 s" in said[0]
    assert part.pid not in (None, first)


async def test_a_part_that_says_it_cannot_go_on_is_started_again(
    supervisor: Supervisor, said: list[str], home: Path, port: int
) -> None:
    part = stand_in(home, port, "stuck")
    await supervisor.start([part])
    first = part.pid
    watch = asyncio.create_task(supervisor.watch())
    assert await asyncio.to_thread(eventually, lambda: "stand-in is back." in said)
    watch.cancel()
    assert said[0].startswith("stand-in cannot go on")
    assert part.pid not in (None, first)


async def test_a_part_that_cannot_start_shows_its_last_lines(supervisor: Supervisor, home: Path, port: int) -> None:
    with pytest.raises(StartFailed, match=r"broken ended with status 1.*\n.*wrong shape"):
        await supervisor.start(
            [stand_in(home, port, name="well"), stand_in(home, ports.free_base(), "broken", name="broken")]
        )


async def test_stopping_also_works_after_a_part_has_crashed(supervisor: Supervisor, home: Path, port: int) -> None:
    part = stand_in(home, port)
    await supervisor.start([part])
    part.kill()
    await supervisor.stop()
    assert part.exit_status() == -signal.SIGKILL


async def test_a_part_that_does_not_listen_is_killed_after_its_deadline(home: Path, port: int) -> None:
    part = stand_in(home, port, "deaf")
    await asyncio.to_thread(part.prepare)
    part.launch()
    await asyncio.to_thread(part.wait_ready)
    await asyncio.to_thread(part.stop, 0.1)
    assert part.exit_status() == -signal.SIGKILL


async def test_cancelling_the_stop_kills_what_is_left(said: list[str], home: Path, port: int) -> None:
    supervisor = Supervisor(said.append)
    part = stand_in(home, port, "deaf")
    await supervisor.start([part])
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert part.exit_status() == -signal.SIGKILL


def test_a_killed_owners_part_is_ended_by_the_next_owner(home: Path, port: int, owner: Start) -> None:
    process, left = owner("service", str(home), str(port))
    freeze(left)
    process.kill()
    process.wait()
    note = home / "run" / "stand-in.json"
    assert child.leftover(note)
    stand_in(home, port).prepare()
    assert not child.leftover(note)
    assert not note.exists()


def test_a_pid_that_went_to_another_program_is_left_alone(home: Path, port: int) -> None:
    note = home / "run" / "stand-in.json"
    note.parent.mkdir(parents=True)
    note.write_text(f'{{"pid": {os.getpid()}, "started": 1000000000.0, "argv": ["python", "stand_in.py"]}}')
    stand_in(home, port).prepare()  # would end this very process
    assert not note.exists()
