"""The tables that every service with a fold has in its own schema."""

from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY


class FoldTables(NamedTuple):
    """The tables that `fold_tables` defines."""

    positions: Table
    dead_letters: Table
    commands: Table
    rulebooks: Table
    rulebook_positions: Table


def fold_tables(metadata: MetaData) -> FoldTables:
    """Define positions, dead letters, answered commands, and rulebooks with the positions from which they apply."""
    positions = Table(
        "positions",
        metadata,
        Column("reader", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("partition", SmallInteger, nullable=False),
        Column("epoch", Integer, nullable=False, server_default="0"),
        Column("next", BigInteger, nullable=False, server_default="0"),
        Column("hint", BigInteger),
        Column("rulebook", Integer, nullable=False, server_default="0"),
        Column("crashes", Integer, nullable=False, server_default="0"),
        # the breaker allows failing records before this offset to be skipped
        Column("skip_before", BigInteger, nullable=False, server_default="0"),
        PrimaryKeyConstraint("reader", "topic", "partition"),
        postgresql_with={"fillfactor": 10},
    )
    dead_letters = Table(
        "dead_letters",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("topic", Text, nullable=False),
        Column("partition", SmallInteger, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("key", Text, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("error", Text, nullable=False),
        Column("trace", Text, nullable=False),
        Column("died_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("outcome", Text),  # null (waiting), replayed or discarded
        Column("reason", Text),
        Column("settled_by", Text),
        Column("settled_at", DateTime(timezone=True)),
        # of a replayed one: where, and after how many facts of its customer; its key then; its corrected record
        Column("stamp", Text),
        Column("replayed_key", Text),
        Column("mended", LargeBinary),
    )
    commands = Table(
        "commands",
        metadata,
        Column("key", Text, primary_key=True),
        Column("customer", Uuid, nullable=False),
        Column("digest", LargeBinary, nullable=False),
        Column("answer", LargeBinary, nullable=False),
        Column("answered_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    rulebooks = Table(
        "rulebooks",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("content", LargeBinary, nullable=False),
        Column("published_by", Text, nullable=False),
        Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    rulebook_positions = Table(
        "rulebook_positions",
        metadata,
        Column("number", Integer, nullable=False),
        Column("topic", Text, nullable=False),
        Column("partition", SmallInteger, nullable=False),
        Column("next", BigInteger, nullable=False),
        PrimaryKeyConstraint("number", "topic", "partition"),
    )
    return FoldTables(positions, dead_letters, commands, rulebooks, rulebook_positions)


def section_table(metadata: MetaData) -> Table:
    """Define the sections of customers' states, one JSON value each. Sections with a rank are read in rank order."""
    table = Table(
        "sections",
        metadata,
        Column("customer", Uuid, nullable=False),
        Column("kind", Text, nullable=False),
        Column("key", Text, nullable=False),
        Column("value", LargeBinary, nullable=False),
        Column("rank", BigInteger),
        PrimaryKeyConstraint("customer", "kind", "key"),
        postgresql_with={"fillfactor": 90},
    )
    ranked = table.c.customer, table.c.kind, table.c.rank, table.c.key
    Index("sections_by_rank", *ranked, postgresql_where=table.c.rank.is_not(None))
    return table


def shared_table(metadata: MetaData) -> Table:
    """Define the shared resources: how much has been taken of each."""
    return Table(
        "shared",
        metadata,
        Column("kind", Text, nullable=False),
        Column("id", Text, nullable=False),
        Column("period", Text, nullable=False),
        Column("part", Integer, nullable=False, server_default="0"),
        Column("value", BigInteger, nullable=False, server_default="0"),
        PrimaryKeyConstraint("kind", "id", "period"),
        postgresql_with={"fillfactor": 10},  # few rows, updated often
    )


class CustomerTables(NamedTuple):
    """The tables that `customer_tables` defines."""

    customers: Table
    identifiers: Table
    erasures: Table


def customer_tables(metadata: MetaData) -> CustomerTables:
    """Define the customers, each with a state as one JSON value, the identifiers that lead to them, and who was erased."""
    customers = Table(
        "customers",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("state", LargeBinary, nullable=False, server_default=""),
        Column("version", BigInteger, nullable=False, server_default="0"),
        Column("facts", BigInteger, nullable=False, server_default="0"),  # how many were decided; numbers the stamps
        Column("merged_into", Uuid),  # the survivor, once the customer was merged; nobody (zero), once they were erased
        postgresql_with={"fillfactor": 70},  # leaves room for a row's next version on the same page
    )
    identifiers = Table(
        "identifiers",
        metadata,
        Column("kind", Text, nullable=False),
        Column("value", Text, nullable=False),
        Column("customer", Uuid, nullable=False),
        Column("version", BigInteger, nullable=False),
        PrimaryKeyConstraint("kind", "value"),
    )
    erasures = Table(
        "erasures",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("customers", ARRAY(Uuid), nullable=False),
        Column("erased", LargeBinary, nullable=False),  # how many rows of what, as JSON
        Column("asked_at", DateTime(timezone=True), nullable=False),
        Column("answered_at", DateTime(timezone=True)),  # the service's log is redacted too
    )
    return CustomerTables(customers, identifiers, erasures)
