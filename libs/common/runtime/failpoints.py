"""Named points at which a test lets the process die or stall. Off unless RAPPORT_FAILPOINTS names some.

`RAPPORT_FAILPOINTS="fold.decided=kill:3,fold.written=raise:1"`: at the third passing of `fold.decided` the process is
killed as by SIGKILL, at the first of `fold.written` an OSError is raised, as if the database had gone away.
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
            raise ValueError(f"RAPPORT_FAILPOINTS: {action!r} in {item!r} is none of {', '.join(ACTIONS)}")
        points[name.strip()] = (action, int(count or 1))
    return points


_points: dict[str, tuple[str, int]] = {}
_passed: Counter[str] = Counter()


def arm(text: str) -> None:
    """Replace all failpoints by those that `text` names, as RAPPORT_FAILPOINTS does. Counts begin again."""
    points = _parse(text)
    _passed.clear()
    _points.clear()
    _points.update(points)


arm(os.environ.get("RAPPORT_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """Pass the point `name`: nothing happens unless it was named and this is the passing that was counted out."""
    if not _points or name not in _points:
        return
    action, count = _points[name]
    _passed[name] += 1
    if _passed[name] != count:
        return
    if action == "raise":
        raise OSError(f"failpoint {name}")
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)
