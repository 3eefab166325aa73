"""`python -m services.ingest`"""

from libs.common.service import serve
from services.ingest.app import create
from services.ingest.settings import Settings

serve("ingest", create, Settings)
