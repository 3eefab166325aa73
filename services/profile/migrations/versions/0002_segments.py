"""Segments and computed traits with their versions, members, how far the newest ones are filled, and timers."""

import sqlalchemy as sa
from alembic import op

from libs.common.fold.migration import create_timers

revision = "0002"
down_revision = "0001"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    create_timers("profile")
    op.create_index("counters_by_counter", "counters", ["counter", "day"], schema="profile")
    for noun in ("segment", "computed_trait"):
        op.create_table(
            f"{noun}s",
            sa.Column("id", sa.Uuid, primary_key=True),
            sa.Column("name", sa.Text, nullable=False, unique=True),
            sa.Column("status", sa.Text, nullable=False),
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("live_version", sa.Integer),
            sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
            schema="profile",
        )
        op.create_table(
            f"{noun}_versions",
            sa.Column("document", sa.Uuid, nullable=False),
            sa.Column("version", sa.Integer, nullable=False),
            sa.Column("content", sa.Text, nullable=False),
            sa.Column("edited_by", sa.Text, nullable=False),
            sa.Column("edited_at", MOMENT, nullable=False, server_default=sa.func.now()),
            sa.Column("published_by", sa.Text),
            sa.Column("published_at", MOMENT),
            sa.PrimaryKeyConstraint("document", "version"),
            schema="profile",
        )
    op.create_table(
        "members",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("segment", sa.Text, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("customer", "segment"),
        schema="profile",
    )
    op.create_index("members_by_segment", "members", ["segment", "customer"], schema="profile")
    op.create_table(
        "segment_fill",
        sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("rulebook", sa.Integer, nullable=False),
        sa.Column("behind", sa.Uuid),
        sa.Column("done", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("finished_at", MOMENT),
        schema="profile",
    )
