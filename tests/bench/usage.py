"""What processes have used: CPU seconds and memory."""

import contextlib
from collections.abc import Iterable

import psutil  # type: ignore[import-untyped]

from tests.bench.installation import Installation


def cpu(installation: Installation) -> float:
    """CPU seconds of all services and of PostgreSQL, its ended children included."""
    services = [service.pid for service in installation.services.values()]
    return sum(_seconds(pid) for pid in [*services, installation.postgres.pid] if pid is not None)


def memory(installation: Installation) -> float:
    """MB of all services: their proportional share where the system tells it (Linux), else what is resident."""
    pids = [service.pid for service in installation.services.values() if service.pid is not None]
    return sum(_bytes(process) for process in _processes(pids)) / 1e6


def _seconds(pid: int) -> float:
    parent = psutil.Process(pid)
    times = parent.cpu_times()
    used = float(times.user + times.system + times.children_user + times.children_system)
    for child in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            used += times.user + times.system
    return used


def _processes(pids: Iterable[int]) -> list[psutil.Process]:
    parents = [psutil.Process(pid) for pid in pids]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]


def _bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (AttributeError, psutil.AccessDenied):
        return int(process.memory_info().rss)
