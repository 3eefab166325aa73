"""The messageId of a row: derived from what stands in it, so that a second import of the same rows adds nothing."""

import hashlib
from array import array
from collections import Counter
from typing import NamedTuple

import msgspec
import numpy

from deploy.importer.mapping import Row
from libs.common.contracts.ids import derived

_canonical = msgspec.json.Encoder(order="sorted").encode


def content(row: Row) -> str:
    """The id of what a row says, whatever the order of its columns."""
    return str(derived("import", _canonical(row).decode()))


class Repeats(NamedTuple):
    """Ids that come more than once in a file, in short form, and how many rows have an id that an earlier row has."""

    ids: frozenset[int]
    rows: int


class Seen:
    """The ids of a file's rows, in 8 bytes each."""

    def __init__(self) -> None:
        self._short = array("Q")

    def note(self, id: str) -> None:
        """The next row has this id."""
        self._short.append(_short(id))

    def repeats(self) -> Repeats:
        """Which of them came more than once."""
        ids, counts = numpy.unique(numpy.frombuffer(self._short, dtype=numpy.uint64), return_counts=True)
        return Repeats(frozenset(ids[counts > 1].tolist()), len(self._short) - len(ids))


class MessageIds:
    """Gives rows their messageIds, in the order of the file. The same row gets the same id in every import; a second row that
    says the same gets another one. Only `repeated` ids are counted, so memory does not grow with the file."""

    def __init__(self, repeated: frozenset[int]) -> None:
        self._repeated = repeated
        self._counts: Counter[str] = Counter()

    def of(self, row: Row) -> str:
        """The messageId of the next row."""
        id = content(row)
        if _short(id) not in self._repeated:
            return id
        self._counts[id] += 1
        occurrence = self._counts[id]
        return id if occurrence == 1 else str(derived(id, str(occurrence)))


def _short(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode(), digest_size=8).digest(), "big")
