"""A head can be closed: nothing is written to it in PostgreSQL any more."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "heads", sa.Column("closed", sa.Boolean, nullable=False, server_default=sa.text("false")), schema="log"
    )
