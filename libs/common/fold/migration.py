"""Creates the fold's tables in a service's schema, for the service's first migration.

The functions describe the tables as of the first release; `fold.tables` and `fold.timer_table` describe them as they
are now. After the first release nothing here changes. A changed table needs a new function, called by a new migration
of each service.
"""

import sqlalchemy as sa
from alembic import op

_MOMENT = sa.DateTime(timezone=True)


def create_fold_tables(schema: str) -> None:
    """Create positions, dead letters, answered commands, and rulebooks with the positions from which they apply."""
    op.create_table(
        "positions",
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("hint", sa.BigInteger),
        sa.Column("rulebook", sa.Integer, nullable=False, server_default="0"),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("skip_before", sa.BigInteger, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("reader", "topic", "partition"),
        schema=schema,
        postgresql_with={"fillfactor": 10},
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("trace", sa.Text, nullable=False),
        sa.Column("died_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("settled_by", sa.Text),
        sa.Column("settled_at", _MOMENT),
        sa.Column("stamp", sa.Text),
        sa.Column("replayed_key", sa.Text),
        sa.Column("mended", sa.LargeBinary),
        schema=schema,
    )
    op.create_table(
        "commands",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("answered_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        schema=schema,
    )
    op.create_table(
        "rulebooks",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
        sa.Column("published_at", _MOMENT, nullable=False, server_default=sa.func.now()),
        schema=schema,
    )
    op.create_table(
        "rulebook_positions",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", "topic", "partition"),
        schema=schema,
    )


def create_sections(schema: str) -> None:
    """Create the sections of customers' states."""
    op.create_table(
        "sections",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("rank", sa.BigInteger),
        sa.PrimaryKeyConstraint("customer", "kind", "key"),
        schema=schema,
        postgresql_with={"fillfactor": 90},
    )
    op.create_index(
        "sections_by_rank",
        "sections",
        ["customer", "kind", "rank", "key"],
        schema=schema,
        postgresql_where=sa.text("rank IS NOT NULL"),
    )


def create_shared(schema: str) -> None:
    """Create the shared resources."""
    op.create_table(
        "shared",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("part", sa.Integer, nullable=False, server_default="0"),
        sa.Column("value", sa.BigInteger, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("kind", "id", "period", "part"),
        schema=schema,
        postgresql_with={"fillfactor": 10},
    )


def create_customers(schema: str) -> None:
    """Create the customers, each with a state as one JSON value, and who was erased. Profile has its own tables instead."""
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("facts", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("merged_into", sa.Uuid),
        schema=schema,
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("customers", sa.ARRAY(sa.Uuid), nullable=False),
        sa.Column("erased", sa.LargeBinary, nullable=False),
        sa.Column("asked_at", _MOMENT, nullable=False),
        sa.Column("answered_at", _MOMENT),
        schema=schema,
    )


def store_uncompressed(schema: str) -> None:
    """Store states uncompressed, because PostgreSQL's compression of a long state costs more than folding it."""
    op.execute(f'ALTER TABLE "{schema}".customers ALTER COLUMN state SET STORAGE EXTERNAL')


def create_identifiers(schema: str) -> None:
    """Create the identifiers that lead to customers."""
    op.create_table(
        "identifiers",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "value"),
        schema=schema,
    )


def create_timers(schema: str) -> None:
    """Create the timers: when something is due for a customer."""
    op.create_table(
        "timers",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("due", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("customer", "kind"),
        schema=schema,
    )
    op.create_index("timers_by_due", "timers", ["partition", "due"], schema=schema)
