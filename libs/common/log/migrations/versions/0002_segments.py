"""Each topic's table in segments of offsets, so that old records go a segment at a time; who reads a topic, and how far;
until when everything is heard. The rows that are there stay where they are: their table becomes the first segment.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

#: The sizes with which an installation begins (settings say those of later segments).
SIZES = {
    "ingest.events": 50_000,
    "profile.journal": 500_000,
    "rewards.facts": 50_000,
    "triggers.facts": 50_000,
    "metrics.facts": 50_000,
}


def upgrade() -> None:
    op.add_column("heads", sa.Column("heard_until", sa.DateTime(timezone=True)), schema="log")
    op.create_table(
        "readers",
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("expired_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("reader", "topic", "partition"),
        schema="log",
    )
    op.execute("LOCK TABLE " + ", ".join(f'log."{topic}"' for topic in SIZES) + " IN ACCESS EXCLUSIVE MODE")
    for topic, size in SIZES.items():
        op.execute(f'ALTER TABLE log."{topic}" RENAME CONSTRAINT "{topic}_pkey" TO "{topic}.0_pkey"')
        op.rename_table(topic, f"{topic}.0", schema="log")
        if topic == "profile.journal":
            op.execute('ALTER INDEX log.journal_by_customer RENAME TO "journal_by_customer.0"')
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
            postgresql_partition_by='RANGE ("offset")',
        )
        if topic == "profile.journal":
            op.create_index("journal_by_customer", topic, ["key", "time", "partition", "offset"], schema="log")
        heads = sa.text("SELECT coalesce(max(next), 0) FROM log.heads WHERE topic = :topic")
        head = op.get_bind().execute(heads, {"topic": topic}).scalar_one()
        end = (head // size + 2) * size
        op.execute(f'ALTER TABLE log."{topic}" ATTACH PARTITION log."{topic}.0" FOR VALUES FROM (0) TO ({end})')
