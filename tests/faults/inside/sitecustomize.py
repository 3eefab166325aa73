"""Reaches into a running service: shifts its clock, and arms the points at which it is to die.

Python imports this at its start when the folder is on PYTHONPATH. With FAULTS_INSIDE set to a folder, two files there that
are named after the module run (`services.rewards.clock`, `services.rewards.points`) are followed: the first holds seconds
that are added to what `datetime.now`, `time.time` and `time.time_ns` say; the second points as RAPPORT_FAILPOINTS names
them. The monotonic clock goes on as it was, as it does when a machine's clock is set. PostgreSQL's own is not touched.
"""

import ctypes
import datetime
import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

EVERY = 0.05  # seconds between two looks at the files


class Inside:
    """Follows the files of one service."""

    def __init__(self, clock: Path, points: Path) -> None:
        self._clock, self._points = clock, points
        self._armed = ""
        self._shift = 0.0
        self._now, self._time, self._time_ns = datetime.datetime.now, time.time, time.time_ns

    def install(self) -> None:
        """From now on everybody here asks this clock; `datetime` is written in C, so its own dictionary is changed."""
        members = gc.get_referents(datetime.datetime.__dict__)[0]
        members["now"] = staticmethod(self.now)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
        time.time = lambda: self._time() + self._shift
        time.time_ns = lambda: self._time_ns() + int(self._shift * 1e9)
        threading.Thread(target=self._follow, name="faults", daemon=True).start()

    def now(self, tz: Any = None) -> datetime.datetime:
        return self._now(tz) + datetime.timedelta(seconds=self._shift)

    def _follow(self) -> None:
        while True:
            self._shift = float(_said(self._clock) or 0)
            if (said := _said(self._points)) != self._armed and (
                module := sys.modules.get("libs.common.runtime.failpoints")
            ):
                module.arm(said)
                self._armed = said
            time.sleep(EVERY)


def _said(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


if "FAULTS_INSIDE" in os.environ and "-m" in sys.orig_argv[:-1]:
    _folder = Path(os.environ["FAULTS_INSIDE"])
    _module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    Inside(_folder / f"{_module}.clock", _folder / f"{_module}.points").install()
