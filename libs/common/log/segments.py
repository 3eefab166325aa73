"""The segments of a topic's table: ranges of offsets, each in its own table, created ahead and dropped whole.

A segment holds its range of offsets of every partition. It is created as a separate table and then attached, which
blocks no reader or appender. It is removed by DETACH … CONCURRENTLY, which blocks none either, and then DROP.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx
from libs.common.log.reader import TopicPartition
from libs.common.log.tables import SCHEMA, relation
from libs.common.settings import Settings

#: The number of segments that exist ahead of the furthest partition.
AHEAD = 2
#: The journal's segments are larger, so there are fewer: it is kept longest and queried by customer.
JOURNAL_TIMES = 10

_EXISTING = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound, i.inhdetachpending AS leaving
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass
"""
# Tables that were detached but not dropped, because the process ended between the two.
_LOOSE = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND NOT c.relispartition AND c.relname ~ $2
"""
_BOUND = re.compile(r"FROM \('?(\d+)'?\) TO \('?(\d+)'?\)")


class Segment(NamedTuple):
    """Offsets from `first` to before `end`, of all partitions. `leaving`: a DETACH was begun and not finished."""

    first: int
    end: int
    name: str
    leaving: bool = False


def size_of(topic: str, settings: Settings) -> int:
    """The number of offsets in a new segment."""
    return settings.segment_records * (JOURNAL_TIMES if topic == JOURNAL else 1)


async def existing(tx: Tx, topic: str) -> list[Segment]:
    """The topic's segments, in order."""
    found = []
    for name, bound, leaving in await tx.fetch(_EXISTING, relation(topic)):
        match = _BOUND.search(bound)
        if match is None:
            raise ValueError(f"{name} is not a segment: its bound is {bound}")
        found.append(Segment(int(match[1]), int(match[2]), name, leaving))
    return sorted(found)


def missing(segments: Iterable[Segment], heads: Iterable[int], size: int) -> list[tuple[int, int]]:
    """The ranges to create, so that AHEAD times `size` offsets exist ahead of each head.

    A dropped range is created again when a slower partition comes to it.
    """
    wanted: list[tuple[int, int]] = []
    covered = [(segment.first, segment.end) for segment in segments]
    for head in sorted(heads):
        at = head
        while at < head + AHEAD * size:
            inside = next((end for first, end in covered if first <= at < end), None)
            if inside is None:
                first = max([at // size * size, *(end for _, end in covered if end <= at)])
                inside = min([first + size, *(begin for begin, _ in covered if begin > at)])
                covered.append((first, inside))
                wanted.append((first, inside))
            at = inside
    return wanted


async def make(connection: Tx, topic: str, ranges: Iterable[tuple[int, int]]) -> list[str]:
    """Create and attach segments, each in its own transaction. Returns their names. Call it outside a transaction."""
    made = []
    for first, end in ranges:
        name = f"{topic}.{first}"
        async with connection.transaction():
            await connection.execute(f'CREATE TABLE {SCHEMA}."{name}" (LIKE {relation(topic)} INCLUDING ALL)')
            await connection.execute(
                f'ALTER TABLE {relation(topic)} ATTACH PARTITION {SCHEMA}."{name}" FOR VALUES FROM ({first}) TO ({end})'
            )
        made.append(name)
    return made


async def drop(connection: Tx, topic: str, segments: Iterable[Segment]) -> list[str]:
    """Detach and drop segments, and finish earlier drops. Returns the names of all. Call it outside a transaction."""
    for segment in segments:
        await connection.execute(
            f'ALTER TABLE {relation(topic)} DETACH PARTITION {SCHEMA}."{segment.name}"'
            f" {'FINALIZE' if segment.leaving else 'CONCURRENTLY'}"
        )
    dropped = []
    for (name,) in await connection.fetch(_LOOSE, SCHEMA, rf"^{re.escape(topic)}\.\d+$"):
        await connection.execute(f'DROP TABLE {SCHEMA}."{name}"')
        dropped.append(name)
    return dropped


def droppable(
    segments: Iterable[Segment], heads: Mapping[TopicPartition, int], passed: Mapping[TopicPartition, int], size: int
) -> list[Segment]:
    """The segments that no partition needs: each is past the segment or far before it, and at least one is past.

    A partition is past a segment if both its head and `passed` (what all readers have read) are.
    """
    found = []
    for segment in segments:
        states = [
            "past"
            if min(head, passed[tp]) >= segment.end
            else "before"
            if head + AHEAD * size <= segment.first
            else "in"
            for tp, head in heads.items()
        ]
        if "in" not in states and "past" in states:
            found.append(segment)
    return found
