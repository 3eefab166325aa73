"""The folder and the ports of a local Rapport, from the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deploy.local.errors import LocalError


@dataclass(frozen=True)
class Place:
    """`home` holds all data, logs and secrets; `port_base` is the first port."""

    home: Path
    port_base: int

    @classmethod
    def load(cls) -> Self:
        """From RAPPORT_HOME (default .rapport in the working folder) and RAPPORT_PORT_BASE (default 8001). Raises LocalError."""
        base = os.environ.get("RAPPORT_PORT_BASE") or "8001"
        if not base.isdecimal() or not 1 <= int(base) <= 65_500:
            raise LocalError(f"RAPPORT_PORT_BASE is {base!r}: it must be a port number, such as 8001.")
        return cls(Path(os.environ.get("RAPPORT_HOME") or ".rapport").expanduser().resolve(), int(base))


def make_home(home: Path) -> None:
    """Create the folder, unless it exists. Raises LocalError if it is not writable."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = error.strerror
    else:
        if os.access(home, os.W_OK | os.X_OK):
            return
        why = "the folder is not writable"
    raise LocalError(f"The data cannot be kept in {home}: {why}. Set RAPPORT_HOME to another folder.")
