"""Timers: when a customer's points are lost."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "timers",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("due", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("customer", "kind"),
        schema="rewards",
    )
    op.create_index("timers_by_due", "timers", ["partition", "due"], schema="rewards")
