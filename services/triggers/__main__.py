"""`python -m services.triggers`"""

from libs.common.service import serve
from services.triggers.app import create
from services.triggers.settings import Settings

serve("triggers", create, Settings)
