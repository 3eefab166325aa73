"""The rows that were refused, as a CSV file beside the imported one: line, reason, and the row as it stands there."""

import csv
import io
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.importer.rows import Line

_HEADER = ("line", "reason", "row")


class Report:
    """`with Report(path, size)`: appends after the first `size` bytes; what a killed import wrote behind them goes."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size

    def __enter__(self) -> Self:
        self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        if self._file.seek(0, io.SEEK_END) < self.size:  # somebody has taken the report away meanwhile
            self.size = 0
        self._file.truncate(self.size)
        self._file.seek(self.size)
        if not self.size:
            self._write(_HEADER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self.is_empty:
            self.path.unlink()

    @property
    def is_empty(self) -> bool:
        """Whether no row was refused."""
        return self.size == len(_encoded(_HEADER))

    def add(self, line: Line, reason: str) -> None:
        """A row was refused."""
        self._write((str(line.number), reason, line.written))

    def flush(self) -> int:
        """Hand all that was added to the operating system; returns the size of the report."""
        self._file.flush()
        return self.size

    def _write(self, cells: tuple[str, ...]) -> None:
        written = _encoded(cells)
        self._file.write(written)
        self.size += len(written)


def _encoded(cells: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode(errors="replace")
