from libs.common.log.tables import metadata
from libs.common.migrate import run_env

run_env(metadata)
