"""Messages that ended long ago go; that there were such ids stays."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table("forgotten", sa.Column("id", sa.Uuid, primary_key=True), schema="triggers")
    op.create_index(
        "deliveries_ended",
        "deliveries",
        ["settled_at"],
        schema="triggers",
        postgresql_where=sa.text("state <> 'queued'"),
    )
