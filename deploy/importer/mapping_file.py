"""A mapping as a user's file: read, and held against the columns of what is imported. Every fault names its place."""

import difflib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from deploy.importer.mapping import TAGS, Document, EventMapping, Events
from deploy.local.errors import LocalError


def load(path: Path, latest: datetime) -> EventMapping:
    """The mapping in a file. Raises LocalError with a sentence for each fault."""
    try:
        document = Document.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LocalError(f"The mapping cannot be read: {error.strerror or error} ({path}).") from None
    except ValidationError as error:
        raise LocalError("\n".join([f"The mapping {path} cannot be used:", *_faults(error)])) from None
    return EventMapping(document, latest)


def require_columns(mapping: Events, known: Iterable[str]) -> None:
    """Raises LocalError when the mapping names columns that the file does not have."""
    columns = list(known)
    if wrong := [column for column in mapping.columns if column not in columns]:
        lines = []
        for column in wrong:
            near = difflib.get_close_matches(column, columns, 1, 0.6)
            lines.append(f"  There is no column {column!r}{f': was {near[0]!r} meant?' if near else '.'}")
        raise LocalError(
            "\n".join(
                [
                    "The mapping does not fit the file:",
                    *lines,
                    f"  The file's columns are {', '.join(map(repr, columns[:50]))}.",
                    '  (What is the same in every event is written {"value": …}.)',
                ]
            )
        )


def _faults(error: ValidationError) -> list[str]:
    found: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        where = [str(part) for part in fault["loc"] if part not in TAGS]
        said = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            said = "is not known here"
        elif fault["type"] == "missing":
            said = "is missing"
        elif fault["type"] in ("model_type", "dict_type", "model_attributes_type"):
            said = 'is a column\'s name, {"column": …, "type": …}, or {"value": …}'
        found.setdefault(".".join(where) or "the file", said)
    return [f"  {where}: {said}" for where, said in found.items()]
