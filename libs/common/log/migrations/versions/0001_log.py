"""The log: heads, and a table for each topic."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TOPICS = ("ingest.events", "profile.journal", "rewards.facts", "triggers.facts", "metrics.facts")


def upgrade() -> None:
    op.create_table(
        "installation",
        sa.Column("only", sa.Integer, primary_key=True, server_default="1"),
        sa.Column("partitions", sa.SmallInteger, nullable=False),
        schema="log",
    )
    op.create_table(
        "heads",
        sa.Column("topic", sa.Text, primary_key=True),
        sa.Column("partition", sa.SmallInteger, primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next", sa.BigInteger, nullable=False, server_default="0"),
        schema="log",
        postgresql_with={"fillfactor": 10},
    )
    for topic in TOPICS:
        op.create_table(
            topic,
            sa.Column("partition", sa.SmallInteger, nullable=False),
            sa.Column("offset", sa.BigInteger, nullable=False),
            sa.Column("key", sa.Text, nullable=False),
            sa.Column("time", sa.DateTime(timezone=True), nullable=False),
            sa.Column("appended_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
            sa.Column("value", sa.LargeBinary, nullable=False),
            sa.PrimaryKeyConstraint("partition", "offset"),
            schema="log",
        )
    op.create_index("journal_by_customer", "profile.journal", ["key", "time", "partition", "offset"], schema="log")
