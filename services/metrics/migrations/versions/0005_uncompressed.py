"""States are stored as they are: PostgreSQL's compression of a long history costs more than folding it does."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("ALTER TABLE metrics.customers ALTER COLUMN state SET STORAGE EXTERNAL")
