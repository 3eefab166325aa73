"""What is wrong with a request that does not fit its model, place by place, in sentences that say what to send."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError

from libs.common.contracts.json_faults import fault
from libs.common.errors import Invalid, Malformed, RapportError

#: By pydantic's types of error; `{…}` is filled from the error's context.
_SENTENCES = {
    "missing": "this is missing",
    "extra_forbidden": "nothing of this name is known here",
    "model_attributes_type": "this must be a JSON object",
    "model_type": "this must be a JSON object",
    "dict_type": "this must be a JSON object",
    "list_type": "this must be an array",
    "string_type": "this must be a string",
    "string_too_short": "this must have at least {min_length} characters",
    "string_too_long": "this may have at most {max_length} characters",
    "string_pattern_mismatch": "this is not written in the form that is needed: /docs shows it",
    "int_type": "this must be a whole number",
    "int_parsing": "this must be a whole number",
    "int_parsing_size": "this number is too large",
    "int_from_float": "this must be a whole number",
    "float_type": "this must be a number",
    "float_parsing": "this must be a number",
    "finite_number": "this must be a number: NaN and Infinity are not JSON",
    "decimal_type": "this must be a number, or a number in a string",
    "decimal_parsing": "this must be a number, or a number in a string",
    "bool_type": "this must be true or false",
    "bool_parsing": "this must be true or false",
    "greater_than": "this must be greater than {gt}",
    "greater_than_equal": "this must be at least {ge}",
    "less_than": "this must be less than {lt}",
    "less_than_equal": "this must be at most {le}",
    "too_short": "this must have at least {min_length} entries",
    "too_long": "this may have at most {max_length} entries",
    "literal_error": "send one of {expected}",
    "enum": "send one of {expected}",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
    "uuid_type": "this must be an id (UUID)",
    "uuid_parsing": "this must be an id (UUID)",
    "datetime_type": "this must be a time (ISO 8601), such as 2026-01-31T12:00:00Z",
    "datetime_parsing": "this must be a time (ISO 8601), such as 2026-01-31T12:00:00Z",
    "datetime_from_date_parsing": "this must be a time (ISO 8601), such as 2026-01-31T12:00:00Z",
    "timezone_aware": "this time needs its zone, such as 2026-01-31T12:00:00Z",
    "date_type": "this must be a date, such as 2026-01-31",
    "date_parsing": "this must be a date, such as 2026-01-31",
    "date_from_datetime_parsing": "this must be a date, such as 2026-01-31",
}


def refusal(error: RequestValidationError) -> RapportError:
    """The problem to answer with: Malformed for what is not JSON, Invalid with `errors` for the rest."""
    found = error.errors()
    if found and found[0]["type"] == "json_invalid":
        return Malformed(f"The body cannot be read: {_json_fault(error)}.")
    listed = [{"at": _place(each["loc"]), "message": _sentence(each)} for each in found]
    sentence = "; ".join(f"{each['at']}: {each['message']}" for each in listed[:3])
    more = f"; and {len(listed) - 3} more, see errors" if len(listed) > 3 else ""
    return Invalid(f"{sentence}{more}.", errors=listed)


async def refuse_unknown(request: Request) -> None:
    """A dependency of every route. Raises Invalid that names each parameter which the route's description does not have.

    Checks only requests with a token: without one, 401 comes first, and SDKs may add parameters of their own.
    """
    given = request.query_params.keys()
    if not given or "authorization" not in request.headers:
        return
    paths = request.app.openapi()["paths"]
    operation = paths.get(request.scope["route"].path, {}).get(request.method.lower())
    if operation is None or not request.url.path.startswith("/v1/"):
        return
    known = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]
    families = tuple(name.partition("{")[0] for name in known if "{" in name)  # `trait.{name}`
    unknown = [name for name in given if name not in known and not (families and name.startswith(families))]
    if unknown:
        errors = [{"at": f"query.{name[:100]}", "message": _unknown(name, known)} for name in unknown]
        raise Invalid("; ".join(f"{each['at']}: {each['message']}" for each in errors[:3]), errors=errors)


def _json_fault(error: RequestValidationError) -> str:
    text = error.body.encode() if isinstance(error.body, str) else bytes(error.body or b"")
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError) as found:
        return fault(text, found)
    return "it is not JSON: send a JSON object"


def _sentence(error: Mapping[str, Any]) -> str:
    match error["type"], error["loc"]:
        case "missing", ("body",):
            return "it is empty: send a JSON object"
        case "missing", ("header", "Idempotency-Key"):
            return "this header is missing: give a text of your own, and the same one whenever you send this again"
        case "value_error", _:
            return str(error["ctx"]["error"])
        case kind, _ if kind in _SENTENCES:
            return _SENTENCES[kind].format_map({"expected": "what /docs shows", **error.get("ctx", {})})
        case _:
            return str(error["msg"]).replace("Input should be", "this must be")


def _place(location: tuple[str | int, ...]) -> str:
    """`("body", "rules", 0, "points")` as `body.rules[0].points`."""
    place = ""
    for step in location:
        place += f"[{step}]" if isinstance(step, int) else f".{step}" if place else step
    return place


def _unknown(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, 1)
    meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}" if known else ""
    return f"no parameter of this name is known here{meant}"
