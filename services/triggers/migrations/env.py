from libs.common.db.migrate import run_env
from services.triggers.models import metadata

run_env(metadata)
