"""What ingest reads from the environment, beside what every service reads."""

from pydantic import Field

from libs.common import settings


class Settings(settings.Settings):
    """`RAPPORT_INGEST_…` wins over `RAPPORT_…`."""

    append_deadline: float = Field(
        default=5.0, gt=0, le=60, description="seconds after which a request that could not be stored is answered 503"
    )
    queue_limit: int = Field(
        default=50_000, ge=1, description="events that may wait to be stored; more are answered 503"
    )
    memory_limit: int = Field(
        default=256 * 1024 * 1024, ge=1, description="bytes that all requests together may hold; more are answered 503"
    )
    rejected_per_minute: int = Field(
        default=60,
        ge=0,
        description="rejected events kept per source and minute by each process; more are only counted",
    )
