"""Rewards' own tables: the fold's, the customers', programmes, and what customers hold of each feature. A feature that has tables
of its own has them in its schema.py, on the same metadata."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from libs.common.fold.tables import customer_tables, fold_tables, section_table, shared_table
from libs.common.fold.timer_table import timer_table

metadata = MetaData(schema="rewards")

FOLD = fold_tables(metadata)
CUSTOMERS = customer_tables(metadata)
SECTIONS = section_table(metadata)
SHARED = shared_table(metadata)
TIMERS = timer_table(metadata)

#: One row a version. `content` is the programme as JSON; only a draft's may change.
programmes = Table(
    "programmes",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),  # draft, live or retired
    Column("name", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("rulebook", Integer),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_by", Text),
    Column("published_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("id", "version"),
)
Index("programmes_one_live", programmes.c.status, unique=True, postgresql_where=text("status = 'live'"))
Index("programmes_one_draft", programmes.c.id, unique=True, postgresql_where=text("status = 'draft'"))

#: What a customer holds of each feature (`kind`: badges, levels), and how many of each item.
standings = Table(
    "standings",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("customer", "kind", "item"),
)

#: By how much the sum of all standings changed on a day: a row a partition.
daily_totals = Table(
    "daily_totals",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("day", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("partition", "day", "kind", "item"),
)

#: A customer's share of `daily_totals`: it stays there when the customer is erased.
standing_days = Table(
    "standing_days",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("item", Text, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("customer", "day", "kind", "item"),
)
