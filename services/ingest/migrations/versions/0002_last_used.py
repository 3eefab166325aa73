"""When a write key was used last."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("write_keys", sa.Column("last_used_at", sa.DateTime(timezone=True)), schema="ingest")
