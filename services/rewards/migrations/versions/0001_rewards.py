"""The fold, customers, programmes, the ledger and its sums."""

import sqlalchemy as sa
from alembic import op

from libs.common.fold.migration import (
    create_customers,
    create_fold_tables,
    create_identifiers,
    create_sections,
    create_timers,
    store_uncompressed,
)

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_fold_tables("rewards")
    create_customers("rewards")
    store_uncompressed("rewards")
    create_identifiers("rewards")
    create_timers("rewards")
    create_sections("rewards")
    programmes()
    ledger()


def programmes() -> None:
    op.create_table(
        "programmes",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("rulebook", sa.Integer),
        sa.Column("edited_by", sa.Text, nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("published_by", sa.Text),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", "version"),
        schema="rewards",
    )
    for name, column, status in (("programmes_one_live", "status", "live"), ("programmes_one_draft", "id", "draft")):
        op.create_index(
            name,
            "programmes",
            [column],
            schema="rewards",
            unique=True,
            postgresql_where=sa.text(f"status = '{status}'"),
        )


def ledger() -> None:
    op.create_table(
        "entries",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("transaction", sa.Uuid, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("rule", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("order_id", sa.Text),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("origin", sa.Uuid, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("inserted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("customer", "transaction", "account"),
        schema="rewards",
    )
    op.create_table(
        "totals",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("partition", "day", "account"),
        schema="rewards",
    )
    op.create_table(
        "standings",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("customer", "kind", "item"),
        schema="rewards",
    )
    op.create_table(
        "daily_totals",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("partition", "day", "kind", "item"),
        schema="rewards",
    )
    op.create_table(
        "standing_days",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("customer", "day", "kind", "item"),
        schema="rewards",
    )
