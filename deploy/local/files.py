"""Files that only we may read."""

import os
from pathlib import Path


def write_private(file: Path, text: str) -> None:
    """Write a file that only we may read, atomically."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
    new.replace(file)
