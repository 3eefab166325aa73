"""The fold, customers, hooks, messages, and the event catalogue."""

import sqlalchemy as sa
from alembic import op

from libs.common.fold.migration import create_customers, create_fold_tables, create_identifiers

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_fold_tables("triggers")
    create_customers("triggers")
    create_identifiers("triggers")
    tickets()
    hooks()
    messages()


def tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("customer", sa.Text),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True)),
        schema="triggers",
    )
    op.create_index("tickets_by_expiry", "tickets", ["expires_at"], schema="triggers")
    op.create_index("tickets_by_subject", "tickets", ["subject"], schema="triggers")


def hooks() -> None:
    op.create_table(
        "workspace",
        sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("daily_cap", sa.Integer),
        sa.Column("quiet_hours", sa.Text),
        schema="triggers",
    )
    op.execute("INSERT INTO triggers.workspace DEFAULT VALUES")
    op.create_table(
        "hooks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("live_version", sa.Integer),
        sa.Column("in_force_at", sa.DateTime(timezone=True)),
        sa.Column("secret", sa.Text),
        sa.Column("paused_reason", sa.Text),
        sa.Column("paused_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="triggers",
    )
    op.create_table(
        "hook_versions",
        sa.Column("hook", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("edited_by", sa.Text, nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("published_by", sa.Text),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("hook", "version"),
        schema="triggers",
    )
    op.create_table(
        "old_secrets",
        sa.Column("hook", sa.Uuid, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hook", "secret"),
        schema="triggers",
    )


def messages() -> None:
    op.create_table(
        "deliveries",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("hook", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("depth", sa.SmallInteger, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("lease", sa.Uuid),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("seen_at", sa.DateTime(timezone=True)),
        sa.Column("not_before", sa.DateTime(timezone=True)),
        sa.Column("quiet_hours", sa.Text),
        sa.PrimaryKeyConstraint("customer", "id"),
        schema="triggers",
    )
    op.create_index("deliveries_by_hook", "deliveries", ["customer", "hook", "decided_at"], schema="triggers")
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["endpoint", "next_at"],
        schema="triggers",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "deliveries_inbox",
        "deliveries",
        ["customer", "settled_at", "id"],
        schema="triggers",
        postgresql_where=sa.text("state = 'sent' AND channel = 'inbox'"),
    )
    op.create_index(
        "deliveries_queued_by_hook",
        "deliveries",
        ["hook"],
        schema="triggers",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "deliveries_ended",
        "deliveries",
        ["settled_at"],
        schema="triggers",
        postgresql_where=sa.text("state <> 'queued'"),
    )
    op.create_table("message_tombstones", sa.Column("id", sa.Uuid, primary_key=True), schema="triggers")
    op.create_table(
        "last_events",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("depth", sa.SmallInteger, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("folded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("imported", sa.Boolean, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("customer", "name"),
        schema="triggers",
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "event_catalogue",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("partition", "name", "path"),
        schema="triggers",
    )
