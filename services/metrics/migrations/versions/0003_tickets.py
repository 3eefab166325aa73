"""Tickets for the stream of key figures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "tickets",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("customer", sa.Text),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True)),
        schema="metrics",
    )
    op.create_index("tickets_by_expiry", "tickets", ["expires_at"], schema="metrics")
    op.create_index("tickets_by_subject", "tickets", ["subject"], schema="metrics")
