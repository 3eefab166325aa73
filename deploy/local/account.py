"""The account that runs PostgreSQL, which refuses to run as root."""

import os
import pwd
import sys
from pathlib import Path

from deploy.local.child import OURSELVES, Account
from deploy.local.errors import Unreachable

DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # linux/capability.h


def unprivileged(data: Path, programs: Path) -> Account:
    """Our own account, unless we are root: then the owner of `data` if that is another account, else `nobody`.

    Where that account could not walk to its files because a folder above them is root's own (a home folder, a mktemp folder),
    it keeps Linux's right to walk through, instead of our opening anybody's folder. Raises Unreachable where that is not possible.
    """
    if os.geteuid() != 0:
        return OURSELVES
    owner = data.stat()
    if owner.st_uid != 0:
        uid, gid = owner.st_uid, owner.st_gid
    else:
        nobody = pwd.getpwnam("nobody")
        uid, gid = nobody.pw_uid, nobody.pw_gid
    program = programs.resolve() / "postgres"
    closed = [entry for entry in (*data.resolve().parents, *program.parents, program) if not may_enter(entry, uid, gid)]
    if not closed:
        return Account(uid, gid)
    # Entering a folder counts as reading; running a file does not.
    for capability in (DAC_OVERRIDE,) if program in closed else (DAC_READ_SEARCH, DAC_OVERRIDE):
        if has_capability(capability):
            return Account(uid, gid, capability)
    raise Unreachable(
        f"PostgreSQL does not run as root, and the account it runs as (uid {uid}) may not enter {closed[-1]}. "
        "Run Rapport as an ordinary user, or keep both the program and RAPPORT_HOME below folders that every user may enter "
        "(/srv/rapport, say)."
    )


def may_enter(path: Path, uid: int, gid: int) -> bool:
    """Whether an account, without further groups, may enter this folder (or run this file)."""
    entry = path.stat()
    bit = 0o100 if entry.st_uid == uid else 0o010 if entry.st_gid == gid else 0o001
    return bool(entry.st_mode & bit)


def has_capability(number: int) -> bool:
    """Whether this process has a Linux capability that it can hand on."""
    if sys.platform != "linux":
        return False
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False
