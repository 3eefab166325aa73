"""A transaction whose statements travel together: several in one round trip.

A batch of one record would else spend more time on round trips than on work. What is written is sent with the next statement
whose answer is waited for, or by `flush`, as one statement (`WITH … INSERT, … UPDATE SELECT`), which PostgreSQL works off in the
order given. What goes `ahead` is sent with whatever comes first.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from libs.common.db.pool import Tx

#: What can be part of one statement; a WITH of its own cannot, nor can what returns rows.
_WRITE = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\S+)")
_PLACE = re.compile(r"\$(\d+)")


class _Part(NamedTuple):
    """A statement's text, beside that of the CTEs that it needs, and its arguments, which both number from $1."""

    query: str
    args: tuple[Any, ...]
    ctes: str = ""


class _Write(NamedTuple):
    part: _Part
    rows: int | None
    otherwise: Callable[[str], Exception]


@dataclass(eq=False, slots=True)
class Ahead:
    """A statement that goes ahead of the first one that is waited for. `answer` is what `select` (aggregates) makes of its rows,
    None until it has been sent."""

    part: _Part
    select: tuple[str, ...]
    answer: tuple[Any, ...] | None = None


class Pipeline:
    """Has the methods of a transaction that a projection uses. `execute` returns nothing, and may raise later."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self._waiting: list[_Write] = []
        self._tables: set[str] = set()
        self._ahead: Ahead | None = None

    def ahead(self, query: str, *args: Any, select: tuple[str, ...]) -> Ahead:
        """Send `query` with the next statement; its answer stands in what is returned. `select` are aggregates."""
        if self._ahead:
            raise RuntimeError("only one statement can go ahead")
        self._ahead = Ahead(_Part(query, args), select)
        return self._ahead

    async def write(
        self, query: str, *args: Any, rows: int, otherwise: Callable[[str], Exception], ctes: str = ""
    ) -> None:
        """Write, with the next statement that is waited for, and then raise `otherwise` unless so many rows were written."""
        await self._wait(_Write(_Part(query, args, ctes), rows, otherwise))

    async def execute(self, query: str, *args: Any) -> None:
        """Write, with the next statement that is waited for."""
        if _WRITE.match(query) is None or "RETURNING" in query:
            await self.flush()
            await self.tx.execute(query, *args)
        else:
            await self._wait(_Write(_Part(query, args), None, RuntimeError))

    async def rows(self, query: str, *args: Any, ctes: str = "") -> Sequence[Sequence[Any]]:
        """Rows by place, whose first column is never null; read together with what goes ahead, so at the same moment."""
        if self._waiting:
            await self.flush()
        if (ahead := self._take_ahead()) is None:
            return await self.tx.fetch(f"WITH {ctes} {query}" if ctes else query, *args)
        found = await self.tx.fetch(_behind(ahead.part.query, ahead.select, query, ctes), *args, *ahead.part.args)
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
        """Send what waits."""
        writes, self._waiting = self._waiting, []
        self._tables.clear()
        ahead = self._take_ahead()
        if not writes and ahead is None:
            return
        texts = tuple((write.part.query, write.part.ctes) for write in writes)
        args = [arg for write in writes for arg in write.part.args]
        if ahead is None:
            (answer,) = await self.tx.fetch(_together(texts, None), *args)
        else:
            query = _together(texts, (ahead.part.query, ahead.select))
            (answer,) = await self.tx.fetch(query, *args, *ahead.part.args)
            width = len(ahead.select)
            ahead.answer = tuple(answer[:width])
            answer = answer[width:]
        for write, count in zip(writes, answer, strict=True):
            if write.rows not in (None, count):
                raise write.otherwise(f"{count} of {write.rows} rows were written")

    async def _wait(self, write: _Write) -> None:
        named = _WRITE.match(write.part.query)
        table = named[1] if named else ""
        if table in self._tables:  # two parts of one statement would not see what each other wrote
            await self.flush()
        self._tables.add(table)
        self._waiting.append(write)

    def _take_ahead(self) -> Ahead | None:
        ahead, self._ahead = self._ahead, None
        return ahead


#: A transaction, or one whose statements travel together.
AnyTx: TypeAlias = "Tx | Pipeline"


@asynccontextmanager
async def pipelined(tx: "AnyTx") -> AsyncIterator[Pipeline]:
    """A pipeline over a transaction, flushed at the end of the block; one that is given is its giver's to flush."""
    if isinstance(tx, Pipeline):
        yield tx
    else:
        pipeline = Pipeline(tx)
        yield pipeline
        await pipeline.flush()


@lru_cache(maxsize=256)
def _behind(ahead: str, select: tuple[str, ...], query: str, ctes: str) -> str:
    by = _most(query, ctes)
    return (
        f"WITH ahead AS ({_shifted(ahead, by)}), {ctes + ', ' if ctes else ''}found AS ({query})"
        f" SELECT told.*, found.* FROM (SELECT {', '.join(select)} FROM ahead) AS told LEFT JOIN found ON true"
    )


@lru_cache(maxsize=512)
def _together(parts: tuple[tuple[str, str], ...], ahead: tuple[str, tuple[str, ...]] | None) -> str:
    """One statement that works off `parts` (texts and their CTEs) in their order, and says how many rows each wrote; before
    that what goes ahead. Their parameters are numbered on."""
    ctes, before = [], 0
    for number, (query, needs) in enumerate(parts):
        if needs:
            ctes.append(_shifted(needs, before))
        ctes.append(f"w{number} AS ({_shifted(query, before)} RETURNING 1)")
        before += _most(query, needs)
    counts = [f"(SELECT count(*) FROM w{number})" for number in range(len(parts))]
    if ahead is None:
        return f"WITH {', '.join(ctes)} SELECT {', '.join(counts)}"
    query, select = ahead
    ctes.insert(0, f"ahead AS ({_shifted(query, before)})")
    told = f"(SELECT {', '.join(select)} FROM ahead) AS told"
    return f"WITH {', '.join(ctes)} SELECT {', '.join(['told.*', *counts])} FROM {told}"


def _most(*texts: str) -> int:
    """The highest number of a parameter."""
    return max((int(place) for text in texts for place in _PLACE.findall(text)), default=0)


def _shifted(query: str, by: int) -> str:
    """The statement with its parameters numbered on."""
    return _PLACE.sub(lambda place: f"${int(place[1]) + by}", query) if by else query
