from libs.common.db.migrate import run_env
from libs.common.log.tables import metadata

run_env(metadata)
