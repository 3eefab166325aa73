"""Dead letters keep as what, and on whose key, they were replayed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("replayed_key", sa.Text), schema="triggers")
    op.add_column("dead_letters", sa.Column("mended", sa.LargeBinary), schema="triggers")
