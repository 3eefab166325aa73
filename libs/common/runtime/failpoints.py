"""Failpoints: named points at which a test can make the process die or stall. Off unless RAPPORT_FAILPOINTS names some.

`RAPPORT_FAILPOINTS="fold.decided=kill:3,fold.written=raise:1"`: the third call of `fold.decided` kills the process with
SIGKILL; the first call of `fold.written` raises an OSError, as if the database were unavailable.
"""

import os
import signal
from collections import Counter

ACTIONS = ("kill", "raise", "stop")


def _parse(text: str) -> dict[str, tuple[str, int]]:
    points: dict[str, tuple[str, int]] = {}
    for item in filter(None, text.split(",")):
        name, _, rest = item.partition("=")
        action, _, count = rest.partition(":")
        if action not in ACTIONS:
            raise ValueError(f"RAPPORT_FAILPOINTS: {action!r} in {item!r} is not one of {', '.join(ACTIONS)}")
        points[name.strip()] = (action, int(count or 1))
    return points


_points: dict[str, tuple[str, int]] = {}
_calls: Counter[str] = Counter()


def arm(text: str) -> None:
    """Replace all failpoints by those that `text` names, as RAPPORT_FAILPOINTS does. Counts begin again."""
    points = _parse(text)
    _calls.clear()
    _points.clear()
    _points.update(points)


arm(os.environ.get("RAPPORT_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """No-op unless this failpoint is armed and this is its nth call."""
    if not _points or name not in _points:
        return
    action, count = _points[name]
    _calls[name] += 1
    if _calls[name] != count:
        return
    if action == "raise":
        raise OSError(f"failpoint {name}")
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
