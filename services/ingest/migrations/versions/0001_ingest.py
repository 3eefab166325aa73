"""Sources, write keys, rejected events."""

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
