"""One owner at a time for a folder of data."""

import fcntl
import os
from pathlib import Path
from typing import Self

from deploy.local.errors import AlreadyRunning


class Owner:
    """The right to use `folder`, held until `release` or until the process ends, in whatever way.

    Not inherited by child processes: a leftover child cannot keep a new owner out.
    """

    def __init__(self, folder: Path, name: str, variable: str = "RAPPORT_HOME") -> None:
        self._path = folder / f"{name}.lock"
        self._variable = variable
        self._descriptor: int | None = None

    def acquire(self) -> Self:
        """Take it without waiting. Raises AlreadyRunning, which names the holder."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise AlreadyRunning(
                f"The data in {self._path.parent} is in use by process {holder}. "
                f"Stop that one first, or set {self._variable} to another folder."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def holds(self) -> bool:
        """Whether this process has it."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give it back. May be called twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
