"""A small disk for PostgreSQL: a tmpfs of its own, where this machine lets us mount one."""

import ctypes
import errno
import os
import shutil
import tempfile
from pathlib import Path

SIZE = 512 * 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)
_DETACH = 2


class Disk:
    """`mount` before the platform starts. `fill` leaves PostgreSQL not a byte; `free` gives it all back."""

    def __init__(self, home: Path) -> None:
        self._place = home / "postgres"
        self._filler = self._place / "filler"
        self._mounted = False

    def mount(self) -> None:
        """Raises OSError where that is not allowed (it takes the capability to mount: root, as in most containers' builds)."""
        self._place.mkdir(parents=True, exist_ok=True)
        place = os.fsencode(self._place)
        if _libc.mount(b"tmpfs", place, b"tmpfs", 0, f"size={SIZE},mode=0700".encode()) != 0:
            raise OSError(ctypes.get_errno(), "a tmpfs cannot be mounted here")
        self._mounted = True

    def fill(self) -> None:
        """Take every free block, and those that become free while it lasts the next time it is called."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while free := self.free_bytes():
                os.write(descriptor, bytes(min(free, 1 << 22)))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        finally:
            os.close(descriptor)

    def free_bytes(self) -> int:
        """What is left."""
        found = os.statvfs(self._place)
        return found.f_bavail * found.f_frsize

    def free(self) -> None:
        """Give everything back."""
        self._filler.unlink(missing_ok=True)

    def unmount(self, keep: bool = False) -> None:
        """Also while somebody still holds a file of it open: it goes when they do. `keep` leaves a copy beside it."""
        if self._mounted:
            if keep:
                shutil.copytree(
                    self._place, self._place.with_name("postgres-kept"), ignore=shutil.ignore_patterns("socket")
                )
            _libc.umount2(os.fsencode(self._place), _DETACH)
            self._mounted = False


def mountable() -> bool:
    """Whether this process may mount a tmpfs."""
    with tempfile.TemporaryDirectory(prefix="rapport-faults-") as folder:
        disk = Disk(Path(folder))
        try:
            disk.mount()
        except OSError:
            return False
        disk.unmount()
        return True
