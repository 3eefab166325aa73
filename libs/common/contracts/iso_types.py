"""Days and moments as REST takes them: written out, as the OpenAPI pages say (ISO 8601), never as a count of seconds.

By itself pydantic takes `20260101` for so many seconds, which is a day of 1970.
"""

import re
from datetime import date
from typing import Annotated, TypeAlias

from pydantic import AwareDatetime, BeforeValidator

_WRITTEN_OUT = re.compile(r"\d{4}-\d{2}-\d{2}([Tt ].*)?", re.ASCII | re.DOTALL)


def _written_out(given: object) -> object:
    if isinstance(given, date) or (isinstance(given, str) and _WRITTEN_OUT.fullmatch(given)):
        return given
    raise ValueError("write it out, as in 2026-01-31, or 2026-01-31T12:00:00Z where a time of day is asked for")


Day: TypeAlias = Annotated[date, BeforeValidator(_written_out)]
Moment: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_written_out)]
