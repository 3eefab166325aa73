"""What metrics reads from the environment, beside what every service reads."""

from pydantic import Field

from libs.common import settings


class Settings(settings.Settings):
    """`RAPPORT_METRICS_…` wins over `RAPPORT_…`."""

    streams: int = Field(default=64, ge=1, description="how many may follow /v1/kpis/stream at a time")
