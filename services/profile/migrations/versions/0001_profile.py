"""Customers, what they are found by, identifiers, dedup keys, merges, counters, consents, notes, tasks, tickets, the fold's tables."""

import sqlalchemy as sa
from alembic import op

from libs.common.fold.migration import create_fold_tables, create_identifiers, create_sections, store_uncompressed

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_fold_tables("profile")
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
        sa.Column("seen", sa.DateTime(timezone=True)),
        schema="profile",
        postgresql_with={"fillfactor": 70},
    )
    for by in ("first_seen", "seen"):
        op.create_index(
            f"customers_by_{by}",
            "customers",
            [by, "id"],
            schema="profile",
            postgresql_where=sa.text("merged_into IS NULL"),
        )
    op.create_table(
        "terms",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("term", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("customer", "term"),
        schema="profile",
    )
    op.create_index("terms_by_term", "terms", ["term", "customer"], schema="profile")
    op.create_table(
        "ranks",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("customer", "by"),
        schema="profile",
    )
    op.create_index("ranks_by_value", "ranks", ["by", "value", "customer"], schema="profile")
    store_uncompressed("profile")
    create_identifiers("profile")
    create_sections("profile")
    op.create_index(
        "sections_waiting",
        "sections",
        ["rank", "customer", "key"],
        schema="profile",
        postgresql_where=sa.text("rank IS NOT NULL"),
    )
    op.create_index("sections_by_key", "sections", ["key"], schema="profile")
    op.create_index(
        "identifiers_by_value",
        "identifiers",
        ["value"],
        schema="profile",
        postgresql_ops={"value": "text_pattern_ops"},
    )
    op.create_table(
        "dedup_keys",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("week", sa.Date, nullable=False),
        sa.PrimaryKeyConstraint("partition", "id", "week"),
        schema="profile",
        postgresql_partition_by="LIST (week)",
    )
    op.create_table(
        "merges",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("other", sa.Uuid, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("by", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("identifiers", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("customer", "at", "id"),
        schema="profile",
    )
    op.create_index("merges_by_time", "merges", ["at", "id"], schema="profile")
    op.create_index("merges_by_id", "merges", ["id"], schema="profile")
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
    op.create_table(
        "consents",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record", sa.Uuid, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("carried", sa.Boolean, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("text_version", sa.Text),
        sa.Column("by", sa.Text),
        sa.PrimaryKeyConstraint("customer", "purpose", "at", "record", "channel"),
        schema="profile",
    )
    op.create_table(
        "notes",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("customer", "id"),
        schema="profile",
    )
    create_tasks()
    op.create_table(
        "tickets",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("customer", sa.Text),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True)),
        schema="profile",
    )
    op.create_index("tickets_by_expiry", "tickets", ["expires_at"], schema="profile")
    op.create_index("tickets_by_subject", "tickets", ["subject"], schema="profile")


def create_tasks() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "tasks",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("due", moment, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("done_at", moment),
        sa.Column("done_by", sa.Text),
        sa.Column("told_at", moment),
        sa.PrimaryKeyConstraint("customer", "id"),
        schema="profile",
    )
    op.create_index("tasks_by_id", "tasks", ["id"], schema="profile")
    op.create_index("tasks_open", "tasks", ["due", "id"], schema="profile", postgresql_where=sa.text("done_at IS NULL"))
    op.create_index(
        "tasks_untold",
        "tasks",
        ["due"],
        schema="profile",
        postgresql_where=sa.text("done_at IS NULL AND told_at IS NULL"),
    )
