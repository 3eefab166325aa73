"""Erasures, what the services answered, and tombstones of identifiers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("also", sa.ARRAY(sa.Uuid), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("asked_by", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("erased", sa.LargeBinary, nullable=False),
        sa.Column("done_at", MOMENT),
        sa.Column("certificate", sa.Text),
        schema="profile",
    )
    op.create_table(
        "erasure_answers",
        sa.Column("erasure", sa.Uuid, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("erased", sa.LargeBinary, nullable=False),
        sa.Column("answered_at", MOMENT, nullable=False),
        sa.Column("kafka_until", MOMENT),
        sa.PrimaryKeyConstraint("erasure", "service"),
        schema="profile",
    )
    op.create_table(
        "tombstones",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("erased_at", MOMENT, nullable=False),
        sa.Column("erasure", sa.Uuid, nullable=False),
        schema="profile",
    )
    op.create_index("tombstones_by_time", "tombstones", ["erased_at"], schema="profile")
