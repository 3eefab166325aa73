"""The fold's tables, purchases and activity by day, the histogram, fits and scores."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
SCHEMA = "metrics"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    fold()
    customers()
    purchases()
    scores()


def fold() -> None:
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
        schema=SCHEMA,
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
        sa.Column("died_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("settled_by", sa.Text),
        sa.Column("settled_at", MOMENT),
        sa.Column("stamp", sa.Text),
        schema=SCHEMA,
    )
    op.create_table(
        "commands",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("answered_at", MOMENT, nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )
    op.create_table(
        "rulebooks",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
        sa.Column("published_at", MOMENT, nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )
    op.create_table(
        "rulebook_positions",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", "topic", "partition"),
        schema=SCHEMA,
    )


def customers() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("facts", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("merged_into", sa.Uuid),
        schema=SCHEMA,
    )
    op.create_table(
        "identifiers",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "value"),
        schema=SCHEMA,
    )
    op.create_index("identifiers_by_customer", "identifiers", ["customer"], schema=SCHEMA)
    op.create_table(
        "sections",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("rank", sa.BigInteger),
        sa.PrimaryKeyConstraint("customer", "kind", "key"),
        schema=SCHEMA,
        postgresql_with={"fillfactor": 90},
    )
    op.create_index(
        "sections_by_rank",
        "sections",
        ["customer", "kind", "rank", "key"],
        schema=SCHEMA,
        postgresql_where=sa.text("rank IS NOT NULL"),
    )


def purchases() -> None:
    op.create_table(
        "purchase_days",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("orders", sa.Integer, nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("refunded_minor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("customer", "day", "currency"),
        schema=SCHEMA,
    )
    op.create_table(
        "days",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("orders", sa.BigInteger, nullable=False),
        sa.Column("net_minor", sa.BigInteger, nullable=False),
        sa.Column("refunded_minor", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "currency", "partition"),
        schema=SCHEMA,
    )
    op.create_table(
        "active_days",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.PrimaryKeyConstraint("customer", "day"),
        schema=SCHEMA,
    )
    op.create_index("active_days_by_day", "active_days", ["day"], schema=SCHEMA)
    op.create_table(
        "active_totals",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("customers", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "partition"),
        schema=SCHEMA,
    )
    op.create_table(
        "histogram",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("first", sa.Date, nullable=False),
        sa.Column("span", sa.Integer, nullable=False),
        sa.Column("x", sa.Integer, nullable=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("partition", "first", "span", "x"),
        schema=SCHEMA,
    )


def scores() -> None:
    op.create_table(
        "fits",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("as_of", sa.Date, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("customers", sa.BigInteger, nullable=False),
        sa.Column("repeat_customers", sa.BigInteger, nullable=False),
        sa.Column("models", JSONB, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reached", sa.Uuid),
        sa.Column("scored", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("changed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("done_at", MOMENT),
        schema=SCHEMA,
    )
    op.create_table(
        "scores",
        sa.Column("customer", sa.Uuid, primary_key=True),
        sa.Column("fit", sa.Uuid, nullable=False),
        sa.Column("as_of", sa.Date, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("risk", sa.Double, nullable=False),
        sa.Column("risk_band", sa.Text, nullable=False),
        sa.Column("cltv", sa.Double, nullable=False),
        sa.Column("value_band", sa.Text, nullable=False),
        sa.Column("worth", sa.Double, nullable=False),
        sa.Column("expected_purchases", sa.Double, nullable=False),
        sa.Column("x", sa.Integer, nullable=False),
        sa.Column("first", sa.Date, nullable=False),
        sa.Column("last", sa.Date, nullable=False),
        schema=SCHEMA,
    )
    for order in ("risk", "cltv", "worth"):
        op.create_index(f"scores_by_{order}", "scores", [order, "customer"], schema=SCHEMA)
