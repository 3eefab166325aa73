"""Lets a running Python process live at another time: what `datetime.now`, `time.time` and `time.time_ns` say is shifted.

Python imports it at its start when this folder is on PYTHONPATH. With FAULTS_CLOCK set to a folder, the number of seconds in
the file there that is named after the module run (`services.rewards`) is added, whenever it changes. The monotonic clock
goes on as it was, as it does when a machine's clock is set. PostgreSQL's own clock is not touched.
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

EVERY = 0.1  # seconds between two looks at the file


class Clock:
    """Shifts this process's clock by what the file says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._shift = 0.0
        self._now, self._time, self._time_ns = datetime.datetime.now, time.time, time.time_ns

    def install(self) -> None:
        """From now on everybody here asks this clock; `datetime` is written in C, so its own dictionary is changed."""
        members = gc.get_referents(datetime.datetime.__dict__)[0]
        members["now"] = staticmethod(self.now)
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
        time.time = lambda: self._time() + self._shift
        time.time_ns = lambda: self._time_ns() + int(self._shift * 1e9)
        threading.Thread(target=self._follow, name="shifted clock", daemon=True).start()

    def now(self, tz: Any = None) -> datetime.datetime:
        return self._now(tz) + datetime.timedelta(seconds=self._shift)

    def _follow(self) -> None:
        while True:
            try:
                self._shift = float(self._file.read_text())
            except (OSError, ValueError):  # not there, or just being written
                self._shift = 0.0 if not self._file.exists() else self._shift
            time.sleep(EVERY)


if "FAULTS_CLOCK" in os.environ and "-m" in sys.orig_argv[:-1]:
    Clock(Path(os.environ["FAULTS_CLOCK"]) / sys.orig_argv[sys.orig_argv.index("-m") + 1]).install()
