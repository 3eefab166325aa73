"""Child processes, each with a pid file, by which the next owner ends those that outlived a killed one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

LAUNCH = Path(__file__).with_name("launch.py")
LOG_BYTES = 8_000_000


@dataclass(frozen=True)
class Account:
    """The account of a child. `capability` is the number of a Linux capability that it keeps, -1 for none."""

    uid: int = -1
    gid: int = -1
    capability: int = -1

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}:{self.capability}"


OURSELVES = Account()


class Child:
    """A running program of ours. Its output goes to `log`; its pid file is removed when it is reaped."""

    def __init__(self, process: subprocess.Popen[bytes], pid_file: Path) -> None:
        self._process = process
        self._pid_file = pid_file

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_status(self) -> int | None:
        """None while it runs; negative is the signal that ended it. Does not block."""
        status = self._process.poll()
        if status is not None:
            self._pid_file.unlink(missing_ok=True)
        return status

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program itself. No-op if it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL the program and its group. Waits until it and the processes that it started have ended (PostgreSQL's sessions
        notice)."""
        if self.exit_status() is None:
            descendants = self._descendants()
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            wait_ended(descendants, 5)

    def _descendants(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self.pid).children(recursive=True))
        return []

    def wait(self, deadline: float) -> int:
        """Block until it ends by itself, or by SIGKILL after `deadline` seconds. Returns the exit status."""
        try:
            self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._pid_file.unlink(missing_ok=True)
        return self._process.returncode

    def stop(self, number: signal.Signals = signal.SIGTERM, deadline: float = 15) -> int:
        """Send a signal, and SIGKILL after `deadline` seconds. Blocks; returns the exit status."""
        self.send(number)
        self.send(signal.SIGCONT)  # a frozen process does not react to signals
        return self.wait(deadline)


def spawn(
    argv: Sequence[str],
    *,
    pid_file: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account = OURSELVES,
    at_our_end: signal.Signals = signal.SIGTERM,
) -> Child:
    """Start a program in a session of its own (a terminal's Ctrl-C does not reach it).

    Call it from a thread that lives as long as the child should: Linux sends `at_our_end` when that thread is gone.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    rotate(log)
    launcher = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), str(int(at_our_end)), str(account)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*launcher, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    pid_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pid_file.write_text(json.dumps({"pid": process.pid, "started": time.time(), "argv": list(argv)}))
    return Child(process, pid_file)


def rotate(log: Path) -> None:
    """Move a large log file aside; one older file is kept."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(log.suffix + ".1"))


def leftover(pid_file: Path) -> psutil.Process | None:
    """The process that a former owner left running, if start time and command line prove that it is that one."""
    try:
        noted = json.loads(pid_file.read_text())
        process = psutil.Process(noted["pid"])
        same = abs(process.create_time() - noted["started"]) < 5 and is_command(process, noted["argv"])
    except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if same else None


def is_command(process: psutil.Process, argv: Sequence[str]) -> bool:
    """Whether the process runs this command (or is about to: the launcher carries it as its arguments)."""
    return len(argv) > 0 and process.cmdline()[-len(argv) :][1:] == list(argv[1:])


def end_leftover(pid_file: Path, number: signal.Signals = signal.SIGTERM, deadline: float = 10) -> int | None:
    """Stop what a former owner left running, and forget it. Blocks; returns its pid, None if there was nothing."""
    process = leftover(pid_file)
    if process is not None:
        end(process, number, deadline)
    pid_file.unlink(missing_ok=True)
    return None if process is None else process.pid


def end_all(program: str, argument: str, number: signal.Signals, deadline: float = 20) -> None:
    """Stop every process of this program that has `argument` on its command line, also those of other owners. Blocks."""
    for process in psutil.process_iter():
        if runs(process.pid, program, argument):
            end(process, number, deadline)


def end(process: psutil.Process, number: signal.Signals, deadline: float) -> None:
    """End a process that is not our child: SIGTERM, SIGKILL after `deadline` seconds. Waits until it has ended."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
        process.resume()  # a frozen process does not react to signals
        wait_ended([process], deadline)
        process.kill()
        wait_ended([process], deadline)


def wait_ended(processes: Sequence[psutil.Process], deadline: float) -> bool:
    """Wait until none of them runs, at most so many seconds. One that nobody reaps counts as ended (many a container's
    first process reaps nothing)."""
    until = time.monotonic() + deadline
    while any(is_running(process) for process in processes):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def is_running(process: psutil.Process) -> bool:
    """Whether it is there and no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def exists(pid: int) -> bool:
    """Whether the system has a process of this number, a zombie included."""
    return bool(psutil.pid_exists(pid))


def runs(pid: int, program: str, argument: str) -> bool:
    """Whether this process runs this program with `argument` on its command line."""
    try:
        words = psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return bool(words) and Path(words[0]).name == program and argument in words
