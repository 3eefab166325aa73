"""The segments of a topic's table: ranges of offsets, each a table of its own, made ahead and dropped whole.

A segment holds its range of every partition. It is made beside the topic and attached, which keeps nobody from reading or
appending; it goes by DETACH … CONCURRENTLY, which waits for no reader and lets no appender wait, and then DROP.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from libs.common.contracts.profile import JOURNAL
from libs.common.db.pool import Tx
from libs.common.log.reader import TopicPartition
from libs.common.log.tables import SCHEMA, relation
from libs.common.settings import Settings

#: So many segments are there before the furthest partition needs them.
AHEAD = 2
#: The journal is kept longest, and looked through by customer: fewer, larger ones.
JOURNAL_TIMES = 10

_EXISTING = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound, i.inhdetachpending AS leaving
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass
"""
# What was detached, and not dropped before the process ended.
_LOOSE = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND NOT c.relispartition AND c.relname ~ $2
"""
_BOUND = re.compile(r"FROM \('?(\d+)'?\) TO \('?(\d+)'?\)")


class Segment(NamedTuple):
    """Offsets from `first` to below `end`, of all partitions; `leaving` when a detachment was begun and not ended."""

    first: int
    end: int
    name: str
    leaving: bool = False


def size_of(topic: str, settings: Settings) -> int:
    """How many offsets a new segment has."""
    return settings.segment_records * (JOURNAL_TIMES if topic == JOURNAL else 1)


async def existing(tx: Tx, topic: str) -> list[Segment]:
    """The topic's segments, in order."""
    found = []
    for name, bound, leaving in await tx.fetch(_EXISTING, relation(topic)):
        match = _BOUND.search(bound)
        if match is None:
            raise ValueError(f"{name} is no segment: its bound is {bound}")
        found.append(Segment(int(match[1]), int(match[2]), name, leaving))
    return sorted(found)


def missing(there: Iterable[Segment], heads: Iterable[int], size: int) -> list[tuple[int, int]]:
    """The ranges to be made, so that each head has AHEAD times `size` offsets before it. One that was dropped because the
    others had passed it is made again when a slower partition comes to it.
    """
    wanted: list[tuple[int, int]] = []
    covered = [(segment.first, segment.end) for segment in there]
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
    """Make and attach segments, each in a transaction of its own; their names. Not in a transaction."""
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
    """Detach and drop segments; their names. Not in a transaction. What was begun before is ended too."""
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
    there: Iterable[Segment], heads: Mapping[TopicPartition, int], passed: Mapping[TopicPartition, int], size: int
) -> list[Segment]:
    """The segments that every partition is past, by head and by `passed` (what all readers have read), or will not come to
    soon; at least one has been in it."""
    found = []
    for segment in there:
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
