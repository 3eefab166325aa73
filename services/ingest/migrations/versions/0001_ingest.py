"""Sources, write keys, rejected events, warnings, the tracking plan, the live view, blocked ids, inbound webhooks, usage."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("default_currency", sa.Text, nullable=False),
        sa.Column("allowed_origins", ARRAY(sa.Text)),
        sa.Column("private_fields", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="ingest",
    )
    op.create_table(
        "write_keys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.Column("last_used_at", sa.DateTime(timezone=True)),
        sa.Column("events_per_second", sa.Integer),
        sa.Column("events_per_day", sa.BigInteger),
        schema="ingest",
    )
    op.create_index("ix_ingest_write_keys_source_id", "write_keys", ["source_id"], schema="ingest")
    op.create_table(
        "rejected",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("type", sa.Text),
        sa.Column("message_id", sa.Text),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("event", sa.Text),
        sa.Column("imported", sa.Boolean, nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True)),
        sa.Column("result", sa.Text),
        schema="ingest",
    )
    op.create_index("rejected_by_source", "rejected", ["source_id", "id"], schema="ingest")
    op.create_index("rejected_by_time", "rejected", ["received_at"], schema="ingest")
    op.create_table(
        "rejected_counts",
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), primary_key=True),
        sa.Column("hour", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("events", sa.BigInteger, nullable=False),
        schema="ingest",
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("log", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("rejected", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("answered_at", sa.DateTime(timezone=True)),
        schema="ingest",
    )
    op.create_table(
        "warnings",
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("warning", sa.Text, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False, unique=True),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("example", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        schema="ingest",
    )
    op.create_table("blocked_ids", sa.Column("value", sa.Text, primary_key=True), schema="ingest")
    live()
    inbound_hooks()
    usage()
    tracking_plan()


def live() -> None:
    op.create_table(
        "watches",
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        schema="ingest",
    )
    op.create_table(
        "live_events",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("source_id", sa.Uuid, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        schema="ingest",
        prefixes=["UNLOGGED"],
    )
    op.create_index("live_events_by_source", "live_events", ["source_id", "id"], schema="ingest")
    op.create_index("live_events_by_time", "live_events", ["at"], schema="ingest")
    op.create_table(
        "tickets",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("customer", sa.Text),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True)),
        schema="ingest",
    )
    op.create_index("tickets_by_expiry", "tickets", ["expires_at"], schema="ingest")
    op.create_index("tickets_by_subject", "tickets", ["subject"], schema="ingest")


def inbound_hooks() -> None:
    op.create_table(
        "inbound_hooks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("secret_header", sa.Text),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("mapping", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("source_id", "name"),
        schema="ingest",
    )
    op.create_table(
        "old_inbound_secrets",
        sa.Column("hook_id", sa.Uuid, sa.ForeignKey("ingest.inbound_hooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hook_id", "secret"),
        schema="ingest",
    )


def usage() -> None:
    op.create_table(
        "usage",
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("through", sa.Uuid, primary_key=True),
        sa.Column("stored", sa.BigInteger, nullable=False),
        sa.Column("warned", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        schema="ingest",
    )
    op.create_index("usage_by_day", "usage", ["day"], schema="ingest")


def tracking_plan() -> None:
    op.create_table(
        "tracking_plans",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id")),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("live_version", sa.Integer),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("source_id", postgresql_nulls_not_distinct=True),
        schema="ingest",
    )
    op.create_table(
        "tracking_plan_versions",
        sa.Column("plan", sa.Uuid, sa.ForeignKey("ingest.tracking_plans.id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("edited_by", sa.Text, nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("published_by", sa.Text),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("plan", "version"),
        schema="ingest",
    )
    op.create_table(
        "violations",
        sa.Column("source_id", sa.Uuid, sa.ForeignKey("ingest.sources.id"), primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("event", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False, unique=True),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("example", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        schema="ingest",
    )
