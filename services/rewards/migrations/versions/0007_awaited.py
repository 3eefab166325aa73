"""What the programme in force is about is awaited, as it is from now on whenever one is published."""

from alembic import op

revision = "0007"
down_revision = "0006"

_DECLARE = """
INSERT INTO log.wake_hints (service, name)
SELECT 'rewards', named.name FROM rewards.programmes,
  LATERAL (SELECT json_array_elements(content::json -> 'earning') ->> 'on'
    UNION SELECT json_array_elements(content::json -> 'badges') ->> 'on'
    UNION VALUES ('Order Completed'), ('Order Refunded')) AS named(name)
WHERE status = 'live' ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    op.execute(_DECLARE)
