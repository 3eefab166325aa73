"""Bulk statements built from the same Tables that the migrations make: one UNNEST, one round trip for any number of rows."""

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@lru_cache(maxsize=256)
def insert(table: Table, columns: tuple[str, ...], on_conflict: str = "") -> str:
    """`INSERT … SELECT … FROM unnest($1, $2, …)`: one array parameter a column. `on_conflict` is appended as it is."""
    names = ", ".join(_quoted(table.c[name]) for name in columns)
    return f"INSERT INTO {table.fullname} ({names}) SELECT * FROM {unnest(table, columns)} {on_conflict}".strip()


@lru_cache(maxsize=256)
def unnest(table: Table, columns: tuple[str, ...]) -> str:
    """`unnest($1::type[], …)` for some columns of a table."""
    arrays = (f"${place}::{table.c[name].type.compile(_DIALECT)}[]" for place, name in enumerate(columns, start=1))
    return f"unnest({', '.join(arrays)})"


def transposed(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Rows as columns: the parameters of a bulk statement. `rows` must not be empty."""
    return [list(column) for column in zip(*rows, strict=True)]


def _quoted(column: "Column[object]") -> str:
    return f'"{column.name}"'
