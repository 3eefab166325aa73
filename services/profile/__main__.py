"""`python -m services.profile`."""

from libs.common.service import serve
from services.profile.app import create
from services.profile.settings import Settings

serve("profile", create, Settings)
