"""States are stored as they are: PostgreSQL's compression of a long history costs more than folding it does."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE profile.customers ALTER COLUMN state SET STORAGE EXTERNAL")
