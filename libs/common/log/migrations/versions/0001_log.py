"""The log: heads, readers' positions, epochs, wake hints, and a table for each topic with its first segment."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
MOMENT = sa.DateTime(timezone=True)

#: The end of each topic's first segment. The settings give the size of later ones.
TOPICS = {
    "ingest.events": 100_000,
    "profile.journal": 1_000_000,
    "rewards.facts": 100_000,
    "triggers.facts": 100_000,
    "metrics.facts": 100_000,
}


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
        sa.Column("watermark", MOMENT),
        sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        schema="log",
        postgresql_with={"fillfactor": 10},
    )
    op.create_table(
        "readers",
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.Column("noted_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.Column("expired_at", MOMENT),
        sa.PrimaryKeyConstraint("reader", "topic", "partition"),
        schema="log",
    )
    op.create_table(
        "epochs",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("begun_at", MOMENT, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("topic", "partition", "epoch"),
        schema="log",
    )
    op.create_table(
        "wake_hints",
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("service", "name"),
        schema="log",
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("hashes", sa.ARRAY(sa.LargeBinary), nullable=False),
        schema="log",
    )
    for topic, end in TOPICS.items():
        op.create_table(
            topic,
            sa.Column("partition", sa.SmallInteger, nullable=False),
            sa.Column("offset", sa.BigInteger, nullable=False),
            sa.Column("key", sa.Text, nullable=False),
            sa.Column("time", MOMENT, nullable=False),
            sa.Column("appended_at", MOMENT, nullable=False, server_default=sa.func.now()),
            sa.Column("value", sa.LargeBinary, nullable=False),
            sa.PrimaryKeyConstraint("partition", "offset"),
            schema="log",
            postgresql_partition_by='RANGE ("offset")',
        )
        op.execute(f'CREATE TABLE log."{topic}.0" PARTITION OF log."{topic}" FOR VALUES FROM (0) TO ({end})')
    op.create_index("journal_by_customer", "profile.journal", ["key", "time", "partition", "offset"], schema="log")
