"""`make sdks`: every SDK with every trouble, and what arrived. Ends with 1 if an event was lost or counted twice.

SDKs that this machine cannot run (no Node, no Chromium) are skipped, and the matrix says so. ONLY=segment runs those whose
name holds it.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.demo.api import Api
from deploy.local.errors import LocalError
from deploy.local.platform import Platform
from deploy.local.ports import free_base
from tests.http_server import HttpServer, QuietHandler
from tests.sdks.clients import CLIENTS, PROGRAMS, Client, command, lacking
from tests.sdks.network import TROUBLES, Network, Trouble, handler

COUNT = 25
#: Seconds for one SDK with one trouble. Some SDKs wait long before they try again.
BOUND = 60.0


def pages(packages: Path) -> type[QuietHandler]:
    """A web server of another origin: the page, and the SDK's own files."""

    class Pages(QuietHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            file = PROGRAMS / "segment_browser.html"
            if path != "/":
                file = packages / "node_modules/@segment/analytics-next/dist" / path.lstrip("/")
            found = file.read_bytes() if file.is_file() else b""
            self.send_response(200 if found or path == "/done" else 404)
            self.send_header("content-type", "text/html" if path == "/" else "text/javascript")
            self.send_header("content-length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

    return Pages


async def arrived(api: Api, customer: str) -> Counter[str]:
    """The events in a customer's timeline, by name."""
    try:
        page = await api.get("profile", f"/v1/customers/user:{customer}/timeline", limit=200)
    except LocalError:
        return Counter()
    return Counter(item["name"] for item in page["items"] if item["name"].startswith("Event "))


async def one(
    client: Client, trouble: Trouble, network: Network, given: dict[str, str], argv: list[str], api: Api
) -> str:
    """Run an SDK with a trouble. Returns what is wrong with what arrived; empty if every event did, once."""
    network.begin(trouble)
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *argv, env={**os.environ, **given}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    found: Counter[str] = Counter()
    try:
        while len(found) < COUNT and time.monotonic() < began + BOUND:
            await asyncio.sleep(0.2)
            found = await arrived(api, given["CUSTOMER"])
        await asyncio.sleep(1.0)  # what would come twice comes now
        found = await arrived(api, given["CUSTOMER"])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
    twice = sum(count - 1 for count in found.values())
    wrong = [f"{COUNT - len(found)} lost"] if len(found) < COUNT else []
    wrong += [f"{twice} twice"] if twice else []
    wrong += [] if network.met else ["the trouble was not met"]
    return ", ".join(wrong)


async def matrix(packages: Path, only: str) -> int:
    """Run them all; returns how many went wrong."""
    console, failed = Console(width=None if Console().is_terminal else 140), 0
    table = Table(title=f"{COUNT} events each: arrived once", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("SDK", *TROUBLES):
        table.add_column(column)
    home = Path(tempfile.mkdtemp(prefix="rapport-sdks-"))
    async with (
        Platform(home=home, port_base=free_base(), fsync=False, say=console.print) as platform,
        Api(platform) as api,
    ):
        network = Network(platform.urls["ingest"], platform.services["ingest"].kill)
        with HttpServer(handler(network)) as proxy, HttpServer(pages(packages)) as web:
            for client in (each for each in CLIENTS if only in each.name):
                if missing := lacking(client, packages):
                    table.add_row(client.name, f"skipped: {missing}")
                    continue
                cells = []
                for trouble in TROUBLES:
                    customer = f"sdk-{uuid.uuid4().hex[:8]}"
                    given = {
                        "KEY": platform.tokens["write_key"],
                        "HOST": proxy.address,
                        "CUSTOMER": customer,
                        "COUNT": str(COUNT),
                        "PYTHONPATH": str(packages / "python"),
                    }
                    argv = command(client, packages, web.address, home / customer, given)
                    wrong = await one(client, trouble, network, given, argv, api)
                    console.print(f"{client.name}, {trouble}: {wrong or 'ok'}")
                    failed += bool(wrong)
                    cells.append(wrong or "ok")
                table.add_row(client.name, *cells)
    shutil.rmtree(home, ignore_errors=True)
    console.print(table)
    return failed


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(matrix(Path(".sdks").resolve(), os.environ.get("ONLY", ""))) else 0)
