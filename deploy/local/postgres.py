"""PostgreSQL from the wheel, as a child process: on a Unix socket in a folder of its own, never on the network."""

import os
import re
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from deploy.local import child, cluster
from deploy.local.account import unprivileged
from deploy.local.database import Role, create_database, create_role
from deploy.local.errors import StartFailed
from deploy.local.owner import Owner

SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_BYTES = 100  # sun_path is 104 bytes on macOS, 108 on Linux, with the final zero
PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
MB = 1024 * 1024


def cache() -> int:
    """PostgreSQL's shared_buffers in MB: a quarter of the machine's memory, between 128 MB and 8 GB, as its manual advises.
    It is allocated as it is used; the rest of the machine's memory serves as the second cache."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(128, min(8192, memory // 4 // MB))


SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": f"{cache()}MB",
    "max_wal_size": "4GB",  # between two checkpoints; PostgreSQL writes a page whole at its first change after one
    "max_connections": "150",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class Postgres:
    """One PostgreSQL server with its data in `home/postgres`, owned by this process and gone with it.

    `fsync=False` is for tests: faster, and what was committed survives a crash of ours but not one of the machine.
    `settings` are PostgreSQL's own, beside SETTINGS.
    All methods block. Call `start` and `launch` from a thread that lives as long as the server (on Linux it ends with it).
    """

    name = "postgres"

    def __init__(self, home: Path, *, fsync: bool = True, settings: Mapping[str, str] = {}) -> None:
        self._home = home.resolve()
        self._folder = self._home / "postgres"
        self._data = self._folder / "data"
        self._programs = cluster.programs()
        self._account = child.OURSELVES
        self._fsync = fsync
        unsafe = {} if fsync else {"fsync": "off", "full_page_writes": "off"}
        self._settings = {**SETTINGS, **unsafe, **settings}
        self._owner = Owner(self._home, "postgres")
        self._child: child.Child | None = None
        self._sockets = self._folder / "socket"
        self._roles: dict[str, str] = {}
        self.log = self._home / "logs" / "postgres.log"

    def start(self, database: str = "rapport") -> str:
        """Create a missing cluster, start the server and wait until it answers. Returns the DSN of `database`, created if missing.

        Raises AlreadyRunning, StartFailed, Unreachable, Missing.
        """
        self.prepare()
        try:
            self.launch()
            self.wait_ready()
            self.create_database(database)
        except BaseException:
            self.stop()
            raise
        return self.dsn(database)

    def prepare(self) -> None:
        """Take the data, end processes that a killed owner left running, and create a missing cluster."""
        self._home.mkdir(parents=True, exist_ok=True)
        self._owner.acquire()
        try:
            self._end_leftovers()
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._account = unprivileged(self._folder, self._programs)
            self._give(self._folder)
            self._roles = cluster.passwords(self._home)
            cluster.refuse_other_version(self._data)
            if not self._data.exists():
                self._make()
        except BaseException:
            self._owner.release()
            raise

    def launch(self) -> None:
        """Start the server process (again); `prepare` comes first, `wait_ready` next. Raises StartFailed."""
        self._end_leftovers()
        self._sockets = self._socket_folder()
        settings = {**self._settings, "unix_socket_directories": str(self._sockets)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._child = child.spawn(
            [str(self._programs / "postgres"), "-D", str(self._data), *options],
            pid_file=self._pid_file,
            log=self.log,
            env=cluster.environment(),
            account=self._account,
            at_our_end=signal.SIGINT,
        )

    def wait_ready(self, deadline: float = 120) -> None:
        """Wait until connections are accepted (recovery after a crash included). Raises StartFailed."""
        server, until = self._child, time.monotonic() + deadline
        while server is not None and not self._accepts(server):
            status = server.exit_status()
            if status is not None:
                raise StartFailed("PostgreSQL", f"ended with status {status} before it was ready", self.log)
            if time.monotonic() > until:
                raise StartFailed("PostgreSQL", f"was not ready after {deadline:.0f} s", self.log)
            time.sleep(0.02)
        create_role(self.superuser_dsn(), Role("rapport", self._roles["rapport"]))

    def cancel(self) -> None:
        """Nothing in `prepare` takes long."""

    def exit_status(self) -> int | None:
        """None while the server runs (or was never launched)."""
        return self._child.exit_status() if self._child else None

    def unwell(self) -> str:
        """Always empty: PostgreSQL exits when it cannot go on."""
        return ""

    @property
    def pid(self) -> int | None:
        """The server's pid; None if it does not run."""
        return self._child.pid if self._child and self._child.exit_status() is None else None

    def stop(self, deadline: float = 20) -> None:
        """A fast shutdown: ends sessions and writes a checkpoint. No-op if it does not run."""
        if self._child:
            self._child.stop(signal.SIGINT, deadline)
            self._child = None
        if self._sockets.parent != self._folder:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._elsewhere.unlink(missing_ok=True)
        self._owner.release()

    def kill(self) -> None:
        """SIGKILL, as a crash would be; `launch` and `wait_ready` bring it back."""
        if self._child:
            self._child.kill()

    def dsn(self, database: str) -> str:
        """A URL for asyncpg, libpq and SQLAlchemy, with the password of `rapport`: owner of its databases, no superuser."""
        return self._url("rapport", database)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of `template` if given (which must have no connections). Returns its DSN.

        One that exists already is left as it is.
        """
        create_database(self._url("rapport", "postgres"), name, template)
        return self.dsn(name)

    def superuser_dsn(self, database: str = "postgres") -> str:
        """The same for PostgreSQL's superuser."""
        return self._url("postgres", database)

    def _url(self, role: str, database: str) -> str:
        password = quote(self._roles[role], safe="")
        return f"postgresql://{role}:{password}@/{quote(database, safe='')}?host={self._sockets}"

    @property
    def _pid_file(self) -> Path:
        return self._home / "run" / "postgres.json"

    @property
    def _elsewhere(self) -> Path:
        return self._home / "run" / "postgres-socket"

    def _give(self, path: Path) -> None:
        if self._account.uid >= 0:
            os.chown(path, self._account.uid, self._account.gid)

    def _make(self) -> None:
        cluster.make(
            self._data,
            self._roles["postgres"],
            self._account,
            sync=self._fsync,
            log=self.log,
            pid_file=self._home / "run" / "initdb.json",
            env=cluster.environment(),
        )

    def _socket_folder(self) -> Path:
        """The socket's folder, ours alone (0700). If the path is too long for a socket's address, or has characters with a meaning
        in a list of hosts or a URL, the folder is under /tmp, and its path is stored."""
        folder = self._folder / "socket"
        if len(os.fsencode(folder / SOCKET)) > SOCKET_PATH_BYTES or not PLAIN.fullmatch(str(folder)):
            folder = self._short_folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        self._give(folder)
        return folder

    def _short_folder(self) -> Path:
        if self._elsewhere.exists():
            folder = Path(self._elsewhere.read_text())
            if folder.is_dir() and not folder.is_symlink() and self._is_ours(folder.lstat()):
                return folder
        folder = Path(tempfile.mkdtemp(prefix="rapport-", dir="/tmp"))
        self._elsewhere.parent.mkdir(parents=True, exist_ok=True)
        self._elsewhere.write_text(str(folder))
        return folder

    def _is_ours(self, entry: os.stat_result) -> bool:
        return entry.st_uid in (os.geteuid(), self._account.uid) and stat.S_IMODE(entry.st_mode) == 0o700

    def _accepts(self, server: child.Child) -> bool:
        """The eighth line of the server's pid file says so, as pg_ctl reads it; the pid must be our child's."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(server.pid) and lines[7].strip() == "ready"

    def _end_leftovers(self) -> None:
        """End the processes that a killed owner verifiably left running on this data, and remove what they leave behind."""
        child.end_leftover(self._home / "run" / "initdb.json")
        child.end_leftover(self._pid_file, signal.SIGINT, 20)
        file = self._data / "postmaster.pid"
        if not file.exists():
            return
        child.end_all("postgres", str(self._data), signal.SIGINT)
        with suppress(FileNotFoundError, ValueError):
            # PostgreSQL overrides the file of a pid that is gone, and checks for orphaned sessions then; it would refuse a pid
            # that has gone to another program, or to a zombie.
            pid = int(file.read_text().split()[0])
            if child.exists(pid):
                file.unlink()
