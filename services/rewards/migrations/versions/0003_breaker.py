"""How far an operator lets the breaker pass over bad records."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "positions", sa.Column("skip_before", sa.BigInteger, nullable=False, server_default="0"), schema="rewards"
    )
