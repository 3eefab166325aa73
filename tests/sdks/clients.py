"""The SDKs: what each is, and how its program is run."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"


class Client(NamedTuple):
    """An SDK by its name and version in the matrix; `program` is a file in PROGRAMS."""

    name: str
    program: str


CLIENTS = (
    Client("segment-analytics-python 2.4.0", "segment_python.py"),
    Client("rudder-sdk-python 2.1.9", "rudder_python.py"),
    Client("posthog 7.91 (Python)", "posthog_python.py"),
    Client("cloudevents 2.2 (Python)", "cloudevents_python.py"),
    Client("@segment/analytics-node 3.1.0", "segment_node.mjs"),
    Client("@rudderstack/rudder-sdk-node 3.0.13", "rudder_node.mjs"),
    Client("@segment/analytics-next 1.84.3, Chromium", "segment_browser.html"),
)


def chromium() -> str | None:
    """The browser, if there is one."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


def lacking(client: Client, packages: Path) -> str:
    """What this machine lacks to run an SDK; empty if nothing."""
    if client.program.endswith(".py"):
        return ""
    if shutil.which("node") is None or not (packages / "node_modules").is_dir():
        return "Node and npm are not installed"
    if client.program.endswith(".html") and chromium() is None:
        return "Chromium is not installed"
    return ""


def command(client: Client, packages: Path, page: str, scratch: Path, given: Mapping[str, str]) -> list[str]:
    """What runs an SDK's program. A browser opens `page` and stays until it is ended."""
    if client.program.endswith(".py"):
        return [sys.executable, "-W", "ignore", str(PROGRAMS / client.program)]
    if client.program.endswith(".mjs"):
        return ["node", str(packages / client.program)]  # where its node_modules are
    names = {"key": "KEY", "host": "HOST", "customer": "CUSTOMER", "count": "COUNT"}
    query = "&".join(f"{name}={given[variable]}" for name, variable in names.items())
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={scratch}"]
    return [chromium() or "chromium", *options, f"{page}/?{query}"]
