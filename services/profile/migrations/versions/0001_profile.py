"""Customers, identifiers, seen records, counters, and the fold's tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _fold()
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("merged_into", sa.Uuid),
        sa.Column("user_id", sa.Text),
        sa.Column("orders", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("first_seen", sa.DateTime(timezone=True)),
        sa.Column("last_seen", sa.DateTime(timezone=True)),
        schema="profile",
        postgresql_with={"fillfactor": 70},
    )
    op.create_table(
        "identifiers",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "value"),
        schema="profile",
    )
    op.create_index(
        "identifiers_by_value",
        "identifiers",
        ["value"],
        schema="profile",
        postgresql_ops={"value": "text_pattern_ops"},
    )
    op.create_table(
        "seen",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("week", sa.Date, nullable=False),
        sa.PrimaryKeyConstraint("partition", "id", "week"),
        schema="profile",
        postgresql_partition_by="LIST (week)",
    )
    op.create_table(
        "counters",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("counter", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("partition", "day", "counter", "source"),
        schema="profile",
        postgresql_with={"fillfactor": 50},
    )


def _fold() -> None:
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
        sa.PrimaryKeyConstraint("reader", "topic", "partition"),
        schema="profile",
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
        sa.Column("died_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("settled_by", sa.Text),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("stamp", sa.Text),
        schema="profile",
    )
    op.create_table(
        "commands",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="profile",
    )
    op.create_table(
        "rulebooks",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="profile",
    )
    op.create_table(
        "rulebook_positions",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", "topic", "partition"),
        schema="profile",
    )
