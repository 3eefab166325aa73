"""What metrics reads from the environment, beside what every service reads."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from libs.common import settings


class Settings(settings.Settings):
    """`RAPPORT_METRICS_…` wins over `RAPPORT_…`."""

    streams: int = Field(default=64, ge=1, description="how many may follow /v1/kpis/stream at a time")

    @field_validator("workspace_timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("no such time zone: give an IANA name, such as Europe/Berlin or UTC") from error
