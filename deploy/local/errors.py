"""What can go wrong on one machine, each with a sentence that tells a person what to do.

LocalError
├── AlreadyRunning     another process owns this data
├── PortTaken          something else listens where we want to
├── Unreachable        the account that must run a part cannot get at its files
├── Missing            a program or a download that is needed is not there
└── StartFailed        a part ended, or was not ready in time
"""

from pathlib import Path


class LocalError(Exception):
    """The message is for a person and says what to do."""


class AlreadyRunning(LocalError):
    """Another process owns this data."""


class PortTaken(LocalError):
    """Something else listens on a port that we need."""


class Unreachable(LocalError):
    """The account that must run a part cannot get at its files."""


class Missing(LocalError):
    """A program or a download that is needed is not there."""


class StartFailed(LocalError):
    """A part ended before it was ready, or was not ready in time."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        lines = tail(log)
        shown = "".join(f"\n    {line}" for line in lines) if lines else " (nothing was logged)"
        super().__init__(f"{name} {why}. The last lines of {log}:{shown}")
        self.name = name


def tail(log: Path, lines: int = 15) -> list[str]:
    """The last lines of a log file, none if there is no such file."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:]
