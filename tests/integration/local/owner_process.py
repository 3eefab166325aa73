"""Run as a program by the tests: owns a part until it is killed. Prints one line when the part is ready.

python -m tests.integration.local.owner_process postgres HOME
python -m tests.integration.local.owner_process service HOME PORT
"""

import signal
import sys
from pathlib import Path

from deploy.local.postgres import Postgres
from deploy.local.service import Service

STAND_IN = Path(__file__).with_name("stand_in.py")


def stand_in(home: Path, port: int, *options: str, name: str = "stand-in") -> Service:
    """A tiny real program that answers /readyz."""
    return Service(name, [sys.executable, str(STAND_IN), str(port), *options], {}, home, port)


def main() -> None:
    kind, home = sys.argv[1], Path(sys.argv[2])
    part: Postgres | Service
    if kind == "postgres":
        part = Postgres(home, fsync=False)
        part.start()
    else:
        part = stand_in(home, int(sys.argv[3]))
        part.launch()
        part.wait_ready()
    print(part.pid, flush=True)  # noqa: T201 - the test reads it
    signal.pause()


if __name__ == "__main__":
    main()
