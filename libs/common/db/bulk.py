"""Bulk statements built from a service's Tables: one UNNEST, so one round trip for any number of rows."""

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@lru_cache(maxsize=256)
def insert(table: Table, columns: tuple[str, ...], on_conflict: str = "") -> str:
    """`INSERT … SELECT … FROM unnest($1, $2, …)` with one array parameter for each column. Appends `on_conflict`."""
    names = _names(table, columns)
    return f"INSERT INTO {table.fullname} ({names}) SELECT * FROM {unnest(table, columns)} {on_conflict}".strip()


@lru_cache(maxsize=256)
def add(table: Table, sums: tuple[str, ...]) -> str:
    """Add to rows of sums, and create missing ones. Parameters: the columns of the primary key, then `sums`.

    Pass the rows in the order of their keys, so that transactions cannot deadlock.
    """
    key = tuple(column.name for column in table.primary_key)
    added = ", ".join(f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in sums)
    return insert(table, (*key, *sums), f"ON CONFLICT ({_names(table, key)}) DO UPDATE SET {added}")


@lru_cache(maxsize=256)
def add_latest(table: Table, columns: tuple[str, ...], sums: tuple[str, ...], at: str, latest: tuple[str, ...]) -> str:
    """Like `add`, of rows that also say `at` what time they are, and what was `latest` then: the later row says it.

    Parameters: `columns`, in their order. Other columns stay as they were inserted.
    """
    key = tuple(column.name for column in table.primary_key)
    changes = [f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in sums]
    changes.append(f'"{at}" = greatest({table.name}."{at}", excluded."{at}")')
    changes += (
        f'"{name}" = CASE WHEN excluded."{at}" >= {table.name}."{at}" THEN excluded."{name}" ELSE {table.name}."{name}" END'
        for name in latest
    )
    return insert(table, columns, f"ON CONFLICT ({_names(table, key)}) DO UPDATE SET {', '.join(changes)}")


@lru_cache(maxsize=256)
def delete(table: Table, condition: str = "true") -> str:
    """Delete rows by primary key, if they meet `condition` (the table is `t`). Parameters: the columns of the key."""
    key = tuple(column.name for column in table.primary_key)
    theirs, given = (", ".join(f'{name}."{column}"' for column in key) for name in ("t", "o"))
    return (
        f"DELETE FROM {table.fullname} AS t USING {unnest(table, key)} AS o({_names(table, key)})"
        f" WHERE ({theirs}) = ({given}) AND {condition}"
    )


@lru_cache(maxsize=256)
def unnest(table: Table, columns: tuple[str, ...]) -> str:
    """`unnest($1::type[], …)` for some columns of a table."""
    arrays = (f"${place}::{_type(table, name)}[]" for place, name in enumerate(columns, start=1))
    return f"unnest({', '.join(arrays)})"


def _type(table: Table, column: str) -> str:
    """A column's type, without its collation, which no array has."""
    return table.c[column].type.compile(_DIALECT).partition(" COLLATE ")[0]


def transposed(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    """Turn rows into columns, the parameters of a bulk statement. `rows` must not be empty."""
    return [list(column) for column in zip(*rows, strict=True)]


def _names(table: Table, columns: Sequence[str]) -> str:
    return ", ".join(f'"{table.c[name].name}"' for name in columns)
