"""What profile reads from the environment, beside what every service reads."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field
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


class Settings(settings.Settings):
    """`RAPPORT_PROFILE_…` wins over `RAPPORT_…`."""

    service_urls: Annotated[Mapping[str, str], NoDecode, BeforeValidator(_urls)] = Field(
        default={},
        description="where an export reaches the other services: ingest=http://ingest:8000,rewards=http://rewards:8000,…",
    )
