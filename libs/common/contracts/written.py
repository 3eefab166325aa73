"""Strings of a form: what does not match is refused with a sentence, not with a regular expression."""

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Written:
    """For `Annotated[str, Written(…)]`: a string that matches `pattern` as a whole, else the caller reads `sentence`."""

    pattern: str
    sentence: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, value: str) -> str:
        if re.fullmatch(self.pattern, value) is None or value.endswith("\n"):
            raise ValueError(self.sentence)
        return value


CURRENCY = Written("^[A-Z]{3}$", "a currency is its code in three capital letters (ISO 4217), such as EUR")
