"""Becomes another program, as another account if asked, that ends when its starter ends.

`child.spawn` runs it as a file. It imports only the standard library, because each start of Python costs time:
    launch.py PARENT SIGNAL UID:GID:CAPABILITY PROGRAM ARGUMENT …

Linux sends SIGNAL to the program when PARENT (the thread that started it) has ended; elsewhere the pid files serve instead.
CAPABILITY (a number, or -1 for none) is kept over the change of account: the right to enter folders that only root may
enter. PostgreSQL needs it if its files are below such a folder, since it refuses to run as root.
"""

import contextlib
import ctypes
import os
import struct
import sys

SET_PDEATHSIG, SET_KEEPCAPS, SET_SECUREBITS, CAP_AMBIENT, CAP_AMBIENT_RAISE = 1, 8, 28, 47, 2
NO_SETUID_FIXUP = 1 << 2
CAPABILITY_VERSION_3 = 0x20080522


def prctl(*arguments: int) -> None:
    """The system call of this name. Raises OSError."""
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:5]]
    if ctypes.CDLL(None, use_errno=True).prctl(*words) != 0:
        raise OSError(ctypes.get_errno(), f"prctl{arguments}")


def become(uid: int, gid: int, capability: int) -> None:
    """Change the account for good, keeping at most one capability."""
    if capability >= 0:
        prctl(SET_KEEPCAPS, 1)
        with contextlib.suppress(
            OSError
        ):  # access(2), with which initdb looks for its programs, knows the capability by this
            prctl(SET_SECUREBITS, NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if capability >= 0:
        words = [(1 << capability) >> (32 * half) & 0xFFFFFFFF for half in (0, 1)]
        header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
        sets = b"".join(struct.pack("III", word, word, word) for word in words)
        if ctypes.CDLL(None, use_errno=True).capset(header, sets) != 0:
            raise OSError(ctypes.get_errno(), "capset")
        prctl(CAP_AMBIENT, CAP_AMBIENT_RAISE, capability)


def main() -> None:
    """See the module."""
    parent, signal = int(sys.argv[1]), int(sys.argv[2])
    uid, gid, capability = (int(part) for part in sys.argv[3].split(":"))
    program = sys.argv[4:]
    if uid >= 0:
        become(uid, gid, capability)
    if sys.platform == "linux":
        prctl(SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        sys.exit("the process that started this has ended already")
    try:
        os.execv(program[0], program)  # noqa: S606 - a shell is what we do not want
    except OSError as error:
        sys.exit(f"{program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
