"""What ingest reads from the environment, beside what every service reads."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from libs.common import settings

SHORTEST_KEY = 32


def _address(value: str) -> str:
    if value and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~\-/]*)?", value):
        raise ValueError("write scheme, host and, if there is one, the path: https://events.example")
    return value.rstrip("/")


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
    public_url: Annotated[str, AfterValidator(_address)] = Field(
        default="",
        description="where apps reach this service, as https://events.example; by default what each request names",
    )
    rejected_per_minute: int = Field(
        default=60,
        ge=0,
        description="rejected events kept per source and minute by each process; more are only counted",
    )
    hash_key: SecretStr = Field(
        default=SecretStr(""),
        description="the key of private fields that are hashed, at least 32 characters; with another one, other hashes",
    )
    hash_key_file: Path | None = Field(default=None, description="file with that key")

    @model_validator(mode="after")
    def _read_hash_key(self) -> Self:
        if self.hash_key_file:
            self.hash_key = SecretStr(self.hash_key_file.read_text().strip())
        if 0 < len(self.hash_key.get_secret_value()) < SHORTEST_KEY:
            raise ValueError(f"RAPPORT_INGEST_HASH_KEY is too short: give {SHORTEST_KEY} characters or more")
        return self
