"""What profile reads from the environment, beside what every service reads."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from libs.common import settings

SHORTEST_SECRET = 32


class Settings(settings.Settings):
    """`RAPPORT_PROFILE_…` wins over `RAPPORT_…`."""

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
