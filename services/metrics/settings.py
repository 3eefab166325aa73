"""The settings of metrics beside those of every service."""

from pydantic import Field

from libs.common import settings


class Settings(settings.Settings):
    """`RAPPORT_METRICS_…` wins over `RAPPORT_…`."""

    streams: int = Field(default=64, ge=1, description="the most subscribers of /v1/kpis/stream at a time")
