"""Identifiers that identify nobody: what broken clients send for everyone. The one list, for the door and for profile."""

import re
from collections.abc import Set

#: In lower case. Segment's and PostHog's lists, and what programming languages print for nothing.
BLOCKED = frozenset(
    (
        *(
            "null",
            "(null)",
            "<null>",
            "nil",
            "<nil>",
            "none",
            "(none)",
            "undefined",
            "(undefined)",
            "nan",
            "n/a",
            "#n/a",
        ),
        *("true", "false", "unknown", "(not set)", "not set", "anonymous", "guest", "not_authenticated"),
        *("[object object]", "object object", "id", "email", "user_id", "userid", "distinct_id", "distinctid"),
        *(
            "anonymous_id",
            "anonymousid",
            "-1",
            "undefined@undefined.com",
            "null@null.com",
            "none@none.com",
            "nan@nan.com",
        ),
    )
)
#: Zeros and hyphens (an empty UUID), and templates that nobody filled in.
_SHAPES = re.compile(r"[0-]*|\{\{.*\}\}|\$\{.*\}|<%.*%>|\*\|.*\|\*|%%.*%%", re.DOTALL)
#: What the shapes begin with; most identifiers begin otherwise, and need no regular expression.
_BEGINNINGS = frozenset("0-{$<*%")


def identifies_nobody(text: str, more: Set[str] = frozenset()) -> bool:
    """Whether an identifier says nothing, compared without case and without space around it. `more` are the workspace's own
    values, in lower case."""
    plain = text.strip().lower()
    return (
        not plain
        or plain in BLOCKED
        or plain in more
        or (plain[0] in _BEGINNINGS and _SHAPES.fullmatch(plain) is not None)
    )
