"""A program of ours that serves HTTP, as a part that can be started, watched and stopped."""

import http.client
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local import child
from deploy.local.errors import StartFailed
from deploy.local.ports import HOST

ROOT = Path(__file__).parents[2]


class Service:
    """One program; its log is `home/logs/NAME.log`, and it is ready when GET /readyz on `port` answers 200.

    All methods block. Call `launch` from a thread that lives as long as the service (on Linux it ends with it).
    """

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], home: Path, port: int) -> None:
        self.name = name
        self.port = port
        self.log = home / "logs" / f"{name}.log"
        self._argv = argv
        self._env = env
        self._pid_file = home / "run" / f"{name}.json"
        self._child: child.Child | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The program's pid; None if it does not run."""
        return self._child.pid if self._child and self._child.exit_status() is None else None

    def prepare(self) -> None:
        """End the process that a killed owner left running."""
        child.end_leftover(self._pid_file)

    def launch(self) -> None:
        """Start the program (again)."""
        self._child = child.spawn(self._argv, pid_file=self._pid_file, log=self.log, env=self._env, cwd=ROOT)

    def wait_ready(self, deadline: float = 120) -> None:
        """Raises StartFailed when it ends before it is ready, or is not ready in time."""
        program, until, answer = self._child, time.monotonic() + deadline, "no answer"
        while program is not None and (answer := self._ready()) != "200":
            status = program.exit_status()
            if status is not None:
                raise StartFailed(self.name, f"ended with status {status} before it was ready", self.log)
            if time.monotonic() > until:
                raise StartFailed(self.name, f"was not ready after {deadline:.0f} s (/readyz: {answer})", self.log)
            time.sleep(0.03)

    def exit_status(self) -> int | None:
        """None while it runs (or was never launched)."""
        return self._child.exit_status() if self._child else None

    def stop(self, deadline: float = 20) -> None:
        """SIGTERM, on which a service drains; SIGKILL after `deadline` seconds. No-op if it does not run."""
        if self._child:
            self._child.stop(signal.SIGTERM, deadline)

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        if self._child:
            self._child.kill()

    def cancel(self) -> None:
        """Nothing in `prepare` takes long."""

    def unwell(self) -> str:
        """The complaint of /livez (503: restart it); empty if it has none, or does not answer."""
        status, text = self._get("/livez")
        return text or "503" if status == 503 else ""

    def _ready(self) -> str:
        status, text = self._get("/readyz")
        return "200" if status == 200 else f"{status or ''} {text}".strip()

    def _get(self, path: str) -> tuple[int, str]:
        """Status and the start of the body; 0 and the error's name when there is no answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read(500).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return 0, type(error).__name__
        finally:
            connection.close()
