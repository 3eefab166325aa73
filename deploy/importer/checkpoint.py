"""How far an import has come, in a file beside the one that is imported: a killed import continues there."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from deploy.local.errors import LocalError


class Checkpoint(msgspec.Struct, kw_only=True):
    """`rows` rows of the file are settled: their events are stored, or they stand in the report. `file`, `mapping` and `target`
    are digests of what is imported, how, and where to; a checkpoint of anything else says nothing of this import."""

    file: str
    mapping: str
    target: str
    rows: int = 0
    stored: int = 0
    refused: int = 0
    warnings: dict[str, int] = {}
    report_bytes: int = 0
    finished: str | None = None

    @classmethod
    def load(cls, path: Path, file: str, mapping: str, target: str) -> tuple[Self, bool]:
        """The checkpoint of this very import, else a new one; and whether there was one of another import."""
        new = cls(file=file, mapping=mapping, target=target)
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return new, False
        except (OSError, ValueError) as error:
            raise LocalError(f"{path} cannot be read ({error}): delete it to begin at the first row.") from None
        same = (found.file, found.mapping, found.target) == (file, mapping, target)
        return (found, False) if same else (new, True)

    def save(self, path: Path) -> None:
        """Replace the stored checkpoint in one step."""
        new = path.with_name(f"{path.name}.new")
        try:
            new.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
            os.replace(new, path)
        except OSError as error:
            raise LocalError(
                f"{path} cannot be written ({error.strerror}): it records how far the import has come. Copy the file to a"
                " folder that you may write to."
            ) from None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """While this file is imported, nobody else imports it on this machine. Raises LocalError."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LocalError(f"Another import of {path} is running: wait for it, or stop it.") from None
        yield
