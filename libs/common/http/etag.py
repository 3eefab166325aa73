"""Versioned writes: an answer carries an ETag, and a write with `If-Match` is refused when somebody wrote in between."""

from typing import Annotated, Any

from fastapi import Header, Response

from libs.common.errors import PreconditionFailed

IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=1000,
        description="the ETag of what you read: if somebody has changed it since, nothing is done (412)",
    ),
]
CHANGED: dict[int | str, dict[str, Any]] = {412: {"description": "Somebody has changed it since."}}


def set_etag(response: Response, tag: str) -> None:
    """Set the ETag of the state that the answer shows."""
    response.headers["etag"] = tag


def refuse_stale(given: str | None, tag: str, sentence: str) -> None:
    """Raises PreconditionFailed, with the sentence, unless `If-Match` (RFC 9110, 13.1.1) is absent, `*` or names `tag`.

    The caller holds a lock, so that the state is still the same when it writes.
    """
    if given is None or "*" in (wanted := [each.strip() for each in given.split(",")]) or tag in wanted:
        return
    raise PreconditionFailed(f"{sentence} Read it again, and send its ETag as If-Match.", etag=tag)
