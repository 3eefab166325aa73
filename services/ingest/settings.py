"""What ingest reads from the environment, beside what every service reads."""

from libs.common import settings


class Settings(settings.Settings):
    """`RAPPORT_INGEST_…` wins over `RAPPORT_…`."""
