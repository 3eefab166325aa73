"""Segments, their versions and members, how far the newest ones are filled, and timers."""

import sqlalchemy as sa
from alembic import op

from libs.common.fold.migration import create_timers

revision = "0002"
down_revision = "0001"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    create_timers("profile")
    op.create_table(
        "segments",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("live_version", sa.Integer),
        sa.Column("created_at", MOMENT, nullable=False, server_default=sa.func.now()),
        schema="profile",
    )
    op.create_table(
        "segment_versions",
        sa.Column("segment", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("edited_by", sa.Text, nullable=False),
        sa.Column("edited_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("published_by", sa.Text),
        sa.Column("published_at", MOMENT),
        sa.PrimaryKeyConstraint("segment", "version"),
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
