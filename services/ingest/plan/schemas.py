"""JSON Schemas as a tracking plan may hold them: compiled, and checked for what could make them slow.

The time of a check is bounded by the sizes of schema and event: patterns run in linear time, and references do not nest.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jsonschema_rs
from jsonschema_rs import RegexOptions, ValidationError

SIZE = 16 * 1024  # bytes of one schema
DEPTH = 32
MASK = "…"  # stands for the value in messages
_DEFINITIONS = ("$defs", "definitions")
_FOREIGN = frozenset(["$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor"])

Validator = jsonschema_rs.Validator


def compiled(schema: dict[str, Any]) -> Validator:
    """The schema's validator. Raises ValueError, with a sentence, for a schema that cannot be used."""
    try:
        text = json.dumps(schema, sort_keys=True)
    except RecursionError:
        raise ValueError(f"the schema is nested deeper than {DEPTH} levels") from None
    if len(text) > SIZE:
        raise ValueError(f"the schema has {len(text):,} bytes, at most {SIZE:,} are taken")
    for place, member, value in _members(schema, "", 1):
        if member in _FOREIGN and isinstance(value, str):
            raise ValueError(f"{place}: {member} is not supported: use $ref and $defs")
        if member == "$ref" and isinstance(value, str):
            _require_plain(place, value)
    return _compiled(text)


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Validator:
    try:
        return jsonschema_rs.validator_for(
            json.loads(text),
            validate_formats=True,
            pattern_options=RegexOptions(size_limit=256 * 1024, dfa_size_limit=1024 * 1024),
            mask=MASK,
            offline=True,
        )
    except ValidationError as error:
        place = "".join(f"/{each}" for each in error.instance_path)
        raise ValueError(f"{place or '/'}: {error.message[:300].replace(MASK, 'this')}") from None


def _members(value: Any, place: str, depth: int) -> Iterator[tuple[str, str, Any]]:
    if depth > DEPTH:
        raise ValueError(f"the schema is nested deeper than {DEPTH} levels")
    if isinstance(value, dict):
        for member, inner in value.items():
            yield place or "/", member, inner
            yield from _members(inner, f"{place}/{member}", depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _members(inner, f"{place}/{number}", depth + 1)


def _require_plain(place: str, reference: str) -> None:
    if not any(reference.startswith(f"#/{name}/") for name in _DEFINITIONS):
        raise ValueError(f"{place}: a $ref may only point into the schema's own $defs, as #/$defs/address")
    if any(f"/{name}/" in f"{place}/" for name in _DEFINITIONS):
        raise ValueError(f"{place}: a schema in $defs may not hold a $ref: write it out there")
