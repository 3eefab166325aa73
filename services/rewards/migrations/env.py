from libs.common.db.migrate import run_env
from services.rewards.models import metadata

run_env(metadata)
