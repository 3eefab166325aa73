"""The fold's tables, purchases and activity by day, RFM cells, fits and scores."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.fold.migration import (
    create_customers,
    create_fold_tables,
    create_identifiers,
    create_sections,
    store_uncompressed,
)

revision = "0001"
down_revision = None
SCHEMA = "metrics"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    create_fold_tables(SCHEMA)
    create_customers(SCHEMA)
    store_uncompressed(SCHEMA)
    create_identifiers(SCHEMA)
    create_sections(SCHEMA)
    op.create_index("identifiers_by_customer", "identifiers", ["customer"], schema=SCHEMA)
    tickets()
    purchases()
    scores()


def tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("customer", sa.Text),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("ends_at", MOMENT),
        schema=SCHEMA,
    )
    op.create_index("tickets_by_expiry", "tickets", ["expires_at"], schema=SCHEMA)
    op.create_index("tickets_by_subject", "tickets", ["subject"], schema=SCHEMA)


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
        "daily_sales",
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
        "daily_active",
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("customers", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("day", "partition"),
        schema=SCHEMA,
    )
    op.create_table(
        "rfm_cells",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("first", sa.Date, nullable=False),
        sa.Column("span", sa.Integer, nullable=False),
        sa.Column("x", sa.Integer, nullable=False),
        sa.Column("customers", sa.BigInteger, nullable=False),
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
        "score_commands",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("fit", sa.Uuid, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("stamp", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("scored_at", MOMENT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("customer", "fit"),
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
