"""A pipeline sends several statements of a transaction in one round trip.

Without it, a batch of one record would spend more time on round trips than on work. Writes are collected and sent
together, before the next read or by `flush`, as one statement (`WITH … INSERT, … UPDATE SELECT`), which PostgreSQL
executes in the order given. A statement passed to `ahead` is sent with whatever is sent first.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from libs.common.db.pool import Tx

#: Statements that can be combined. Those with their own WITH, or that return rows, cannot.
_WRITE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\S+)")
_PLACE = re.compile(r"\$(\d+)")


class _Statement(NamedTuple):
    """A statement's text, the text of the CTEs that it needs, and the arguments of both, numbered from $1."""

    query: str
    args: tuple[Any, ...]
    ctes: str = ""


class _Write(NamedTuple):
    statement: _Statement
    rows: int | None
    otherwise: Callable[[str], Exception]


@dataclass(eq=False, slots=True)
class Ahead:
    """A statement sent ahead of the next one. `answer` is the result of `select` (aggregates of its rows), None until
    it has been sent."""

    statement: _Statement
    select: tuple[str, ...]
    answer: tuple[Any, ...] | None = None


class Pipeline:
    """Has the methods of a transaction that projections use. `execute` returns nothing, and may raise later."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self._pending: list[_Write] = []
        self._tables: set[str] = set()
        self._ahead: Ahead | None = None

    def ahead(self, query: str, *args: Any, select: tuple[str, ...]) -> Ahead:
        """Send `query` with the next statement. The returned object then has its answer. `select` are aggregates."""
        if self._ahead:
            raise RuntimeError("only one statement can go ahead")
        self._ahead = Ahead(_Statement(query, args), select)
        return self._ahead

    async def write(
        self, query: str, *args: Any, rows: int, otherwise: Callable[[str], Exception], ctes: str = ""
    ) -> None:
        """Add a write. When it is sent, `otherwise` is raised unless it wrote exactly `rows` rows."""
        await self._add(_Write(_Statement(query, args, ctes), rows, otherwise))

    async def execute(self, query: str, *args: Any) -> None:
        """Add a write. A statement that cannot be combined is sent now, after the pending ones."""
        if _WRITE.match(query) is None or "RETURNING" in query:
            await self.flush()
            await self.tx.execute(query, *args)
        else:
            await self._add(_Write(_Statement(query, args), None, RuntimeError))

    async def rows(self, query: str, *args: Any, ctes: str = "") -> Sequence[Sequence[Any]]:
        """Read rows, as sequences; their first column must never be null. Flushes pending writes first.

        A statement `ahead` is sent in the same statement, so both see the same snapshot.
        """
        if self._pending:
            await self.flush()
        if (ahead := self._take_ahead()) is None:
            return await self.tx.fetch(f"WITH {ctes} {query}" if ctes else query, *args)
        found = await self.tx.fetch(
            _with_ahead(ahead.statement.query, ahead.select, query, ctes), *args, *ahead.statement.args
        )
        width = len(ahead.select)
        ahead.answer = tuple(found[0][:width])
        return [row[width:] for row in found if row[width] is not None]

    async def fetch(self, query: str, *args: Any) -> list[Any]:
        await self.flush()
        return await self.tx.fetch(query, *args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        await self.flush()
        return await self.tx.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        await self.flush()
        return await self.tx.fetchval(query, *args)

    async def flush(self) -> None:
        """Send all pending writes."""
        writes, self._pending = self._pending, []
        self._tables.clear()
        ahead = self._take_ahead()
        if not writes and ahead is None:
            return
        texts = tuple((write.statement.query, write.statement.ctes) for write in writes)
        args = [arg for write in writes for arg in write.statement.args]
        if ahead is None:
            (answer,) = await self.tx.fetch(_combined(texts, None), *args)
        else:
            query = _combined(texts, (ahead.statement.query, ahead.select))
            (answer,) = await self.tx.fetch(query, *args, *ahead.statement.args)
            width = len(ahead.select)
            ahead.answer = tuple(answer[:width])
            answer = answer[width:]
        for write, count in zip(writes, answer, strict=True):
            if write.rows not in (None, count):
                raise write.otherwise(f"{count} of {write.rows} rows were written")

    async def _add(self, write: _Write) -> None:
        named = _WRITE.match(write.statement.query)
        table = named[1] if named else ""
        if table in self._tables:  # parts of one statement do not see each other's writes
            await self.flush()
        self._tables.add(table)
        self._pending.append(write)

    def _take_ahead(self) -> Ahead | None:
        ahead, self._ahead = self._ahead, None
        return ahead


#: A transaction, or a pipeline over one.
AnyTx: TypeAlias = "Tx | Pipeline"


@asynccontextmanager
async def pipelined(tx: "AnyTx") -> AsyncIterator[Pipeline]:
    """A pipeline over a transaction, flushed at the end of the block. A given pipeline is used and not flushed."""
    if isinstance(tx, Pipeline):
        yield tx
    else:
        pipeline = Pipeline(tx)
        yield pipeline
        await pipeline.flush()


@lru_cache(maxsize=256)
def _with_ahead(ahead: str, select: tuple[str, ...], query: str, ctes: str) -> str:
    by = _highest(query, ctes)
    return (
        f"WITH ahead AS ({_shifted(ahead, by)}), {ctes + ', ' if ctes else ''}found AS ({query})"
        f" SELECT answer.*, found.* FROM (SELECT {', '.join(select)} FROM ahead) AS answer LEFT JOIN found ON true"
    )


@lru_cache(maxsize=512)
def _combined(parts: tuple[tuple[str, str], ...], ahead: tuple[str, tuple[str, ...]] | None) -> str:
    """One statement that executes `parts` (texts and their CTEs) in order, after the one ahead, if any. It returns the
    answer of the one ahead, and how many rows each part wrote. Parameters are renumbered."""
    ctes, offset = [], 0
    for number, (query, its_ctes) in enumerate(parts):
        if its_ctes:
            ctes.append(_shifted(its_ctes, offset))
        ctes.append(f"w{number} AS ({_shifted(query, offset)} RETURNING 1)")
        offset += _highest(query, its_ctes)
    counts = [f"(SELECT count(*) FROM w{number})" for number in range(len(parts))]
    if ahead is None:
        return f"WITH {', '.join(ctes)} SELECT {', '.join(counts)}"
    query, select = ahead
    ctes.insert(0, f"ahead AS ({_shifted(query, offset)})")
    answer = f"(SELECT {', '.join(select)} FROM ahead) AS answer"
    return f"WITH {', '.join(ctes)} SELECT {', '.join(['answer.*', *counts])} FROM {answer}"


def _highest(*texts: str) -> int:
    """The highest parameter number."""
    return max((int(place) for text in texts for place in _PLACE.findall(text)), default=0)


def _shifted(query: str, by: int) -> str:
    """The statement with its parameter numbers raised."""
    return _PLACE.sub(lambda place: f"${int(place[1]) + by}", query) if by else query
