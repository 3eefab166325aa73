"""What profile reads from the environment, beside what every service reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from libs.common import settings
from libs.common.contracts.registry import SERVICES


def _urls(given: object) -> object:
    """`rewards=http://rewards:8000,…` as a mapping."""
    if not isinstance(given, str):
        return given
    urls = dict(part.strip().partition("=")[::2] for part in given.split(",") if part.strip())
    for service, url in urls.items():
        if service not in SERVICES or not url.startswith(("http://", "https://")):
            raise ValueError(
                "give service=address, comma separated: ingest=http://ingest:8000,rewards=http://rewards:8000"
            )
    return urls


SHORTEST_SECRET = 32


class Settings(settings.Settings):
    """`RAPPORT_PROFILE_…` wins over `RAPPORT_…`."""

    service_urls: Annotated[Mapping[str, str], NoDecode, BeforeValidator(_urls)] = Field(
        default={},
        description="where an export reaches the other services: ingest=http://ingest:8000,rewards=http://rewards:8000,…",
    )
    consent_secret: SecretStr = Field(
        default=SecretStr(""),
        description="signs the links of double opt-in, at least 32 characters; several (spaces between) while it is changed",
    )
    consent_secret_file: Path | None = Field(default=None, description="file with that secret or these secrets")

    timeline_streams: int = Field(default=64, ge=1, description="open timeline streams of a process")

    @model_validator(mode="after")
    def _read_consent_secret(self) -> Self:
        if self.consent_secret_file:
            self.consent_secret = SecretStr(self.consent_secret_file.read_text())
        if any(len(each) < SHORTEST_SECRET for each in self.consent_secret.get_secret_value().split()):
            raise ValueError(f"RAPPORT_PROFILE_CONSENT_SECRET is too short: give {SHORTEST_SECRET} characters or more")
        return self
