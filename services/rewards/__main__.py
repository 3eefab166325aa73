"""`python -m services.rewards`"""

from libs.common.service import serve
from services.rewards.app import create
from services.rewards.settings import Settings

serve("rewards", create, Settings)
