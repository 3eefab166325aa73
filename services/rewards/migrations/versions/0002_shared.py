"""What customers share: how much has been taken of each budget."""

from libs.common.fold.migration import create_shared

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    create_shared("rewards")
