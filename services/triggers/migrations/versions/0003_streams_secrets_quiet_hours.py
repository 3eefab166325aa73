"""Tickets for inbox streams, the secrets of webhooks that are being changed, quiet hours."""

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
        schema="triggers",
    )
    op.create_index("tickets_by_expiry", "tickets", ["expires_at"], schema="triggers")
    op.create_index("tickets_by_subject", "tickets", ["subject"], schema="triggers")
    op.create_table(
        "old_secrets",
        sa.Column("hook", sa.Uuid, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hook", "secret"),
        schema="triggers",
    )
    op.add_column("workspace", sa.Column("quiet_hours", sa.Text), schema="triggers")
    op.add_column("deliveries", sa.Column("not_before", sa.DateTime(timezone=True)), schema="triggers")
    op.add_column("deliveries", sa.Column("quiet_hours", sa.Text), schema="triggers")
