"""The rows of a file: CSV with a header, or NDJSON (one object a line). Read as a stream, whatever the size."""

import csv
import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from deploy.importer.mapping import Row
from deploy.local.errors import LocalError

_DELIMITERS = (",", ";", "\t", "|")
_NDJSON = (".ndjson", ".jsonl", ".json")
_LONGEST = 1024 * 1024  # characters of a cell
_SHOWN = 2_000


class Line(NamedTuple):
    """A row of the file, which begins at line `number`; `fault` says why it cannot be read. `written` is what stands there."""

    number: int
    row: Row
    written: str
    fault: str = ""


class RowFile:
    """A file of rows. `lines` may be read any number of times; each time from its beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_csv = path.suffix.lower() not in _NDJSON
        try:
            self.size = path.stat().st_size
            with path.open("rb") as file:
                first = file.readline(_LONGEST)
        except OSError as error:
            raise LocalError(f"The file cannot be read: {error.strerror or error} ({path}).") from None
        if first.startswith((b"\x1f\x8b", b"PK")):
            raise LocalError(f"{path} is compressed: unpack it first.")
        if first.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise LocalError(f"{path} is UTF-16: save it as UTF-8.")
        header = first.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
        if self.is_csv and not header.strip():
            raise LocalError(f"{path} has no header: the first line of a CSV file names its columns.")
        self.delimiter = max(_DELIMITERS, key=header.count)
        self.header = (
            [name.strip() for name in next(csv.reader([header], delimiter=self.delimiter))] if self.is_csv else []
        )
        if len(set(self.header)) < len(self.header):
            twice = next(name for name in self.header if self.header.count(name) > 1)
            raise LocalError(f"{path} has two columns named {twice!r}: give each a name of its own.")

    def lines(self, note: Callable[[int], None] = lambda _: None, digest: Any = None) -> Iterator[Line]:
        """Its rows, without blank lines. `note` gets the bytes of each line as it is read, `digest` the bytes themselves."""
        texts = self._texts(note, digest or hashlib.sha256())
        return self._csv(texts) if self.is_csv else self._ndjson(texts)

    def _texts(self, note: Callable[[int], None], digest: Any) -> Iterator[tuple[str, bool]]:
        """Each line as text, and whether it was UTF-8."""
        with self.path.open("rb") as file:
            for number, raw in enumerate(file):
                digest.update(raw)
                note(len(raw))
                raw = raw.removeprefix(b"\xef\xbb\xbf") if number == 0 else raw
                try:
                    yield raw.decode(), True
                except UnicodeDecodeError:
                    yield raw.decode(errors="replace"), False

    def _ndjson(self, texts: Iterator[tuple[str, bool]]) -> Iterator[Line]:
        for number, (text, sound) in enumerate(texts, start=1):
            if not text.strip():
                continue
            written = text.rstrip("\r\n")
            if not sound:
                yield Line(number, {}, written, "the line is not UTF-8: save the file as UTF-8")
                continue
            try:
                row = msgspec.json.decode(text)
            except (ValueError, RecursionError) as error:
                yield Line(number, {}, written, f"the line is not JSON: {error}")
                continue
            if isinstance(row, dict):
                yield Line(number, row, written)
            else:
                yield Line(number, {}, written, "the line is JSON, but no object")

    def _csv(self, texts: Iterator[tuple[str, bool]]) -> Iterator[Line]:
        csv.field_size_limit(_LONGEST)
        taken: deque[str] = deque()
        broken: list[bool] = []

        def feed() -> Iterator[str]:
            for text, sound in texts:
                taken.append(text)
                broken.append(not sound)
                yield text

        reader = csv.reader(feed(), delimiter=self.delimiter, strict=True)
        header, first = True, 1
        while True:
            taken.clear()
            broken.clear()
            fault, cells = "", None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fault = f"the row cannot be read: {error}"
            number, first = first, first + len(taken)
            if header:
                header = False
                continue
            if cells == []:
                continue
            written = "".join(taken).rstrip("\r\n")[:_SHOWN]
            if any(broken):
                fault = "the row is not UTF-8: save the file as UTF-8"
            elif cells is not None and len(cells) != len(self.header):
                fault = (
                    f"the row has {len(cells)} cells, the header has {len(self.header)}:"
                    " is a delimiter missing, or a quote?"
                )
            row = {} if fault or cells is None else dict(zip(self.header, cells, strict=True))
            yield Line(number, row, written, fault)
