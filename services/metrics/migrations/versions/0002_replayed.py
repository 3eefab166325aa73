"""Dead letters keep as what, and on whose key, they were replayed; what a fit said of each customer is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("replayed_key", sa.Text), schema="metrics")
    op.add_column("dead_letters", sa.Column("mended", sa.LargeBinary), schema="metrics")
    op.create_table(
        "scorings",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("fit", sa.Uuid, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("stamp", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("scored_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.clock_timestamp()),
        sa.PrimaryKeyConstraint("customer", "fit"),
        schema="metrics",
    )
