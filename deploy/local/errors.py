"""Errors of the local runner. Each message is a sentence that says what to do.

LocalError
├── AlreadyRunning     another process owns this data
├── PortTaken          another process listens on a port that we need
├── Unreachable        the account that must run a part cannot access its files
├── Missing            a required program or download is missing
└── StartFailed        a part ended, or was not ready in time
"""

from pathlib import Path


class LocalError(Exception):
    """The message says what to do."""


class AlreadyRunning(LocalError):
    """Another process owns this data."""


class PortTaken(LocalError):
    """Another process listens on a port that we need."""


class Unreachable(LocalError):
    """The account that must run a part cannot access its files."""


class Missing(LocalError):
    """A required program or download is missing."""


class StartFailed(LocalError):
    """A part ended before it was ready, or was not ready in time."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        lines = tail(log)
        shown = "".join(f"\n    {line}" for line in lines) if lines else " (nothing was logged)"
        super().__init__(f"{name} {why}. The last lines of {log}:{shown}")
        self.name = name


def tail(log: Path, lines: int = 15) -> list[str]:
    """The last lines of a log file; none if it does not exist."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:]
