"""How a source declares its private fields."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from libs.common.contracts.written import Written
from libs.common.errors import Conflict

MOST = 100
_PATH = Written(
    r"^(context|traits|properties)(\.[^.\x00]{1,100}){1,8}$",
    "a private field begins with context, traits or properties: context.ip, traits.email",
)


class Truncate(BaseModel):
    """Only the first characters of a text stay; what is no text is dropped."""

    model_config = ConfigDict(extra="forbid")

    truncate: Annotated[StrictInt, Field(ge=1, le=1_000, description="characters")]


How = Literal["drop", "hash", "truncate"] | Truncate


Path = Annotated[str, _PATH]
PrivateFieldRules = Annotated[
    dict[Path, How] | None,
    Field(
        max_length=MOST,
        examples=[{"context.ip": "truncate", "traits.email": "hash", "properties.note": "drop"}],
        description="drop, hash (with the installation's key) or truncate what lies there, before anything is stored:"
        ' `truncate` leaves the network of an address, `{"truncate": 3}` the first three characters of a text',
    ),
]


def as_json(fields: dict[str, How] | None, can_hash: bool) -> str | None:
    """As it is stored. Raises Conflict when fields are to be hashed and there is no key."""
    if not fields:
        return None
    if not can_hash and "hash" in fields.values():
        raise Conflict("Fields cannot be hashed here: your operator sets RAPPORT_INGEST_HASH_KEY.")
    return json.dumps({path: how if isinstance(how, str) else how.model_dump() for path, how in fields.items()})
