"""What rewards reads from the environment, beside what every service reads."""

from libs.common import settings


class Settings(settings.Settings):
    """`RAPPORT_REWARDS_…` wins over `RAPPORT_…`."""
