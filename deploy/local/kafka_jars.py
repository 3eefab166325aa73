"""Kafka's jars: exactly those of kafka_jars.json (coordinate → SHA-256), downloaded once by jgo into a cache that all installations share.

The list is what jgo resolves for org.apache.kafka:kafka_2.13, kafka-tools and kafka-clients 4.3.1 with log4j-slf4j-impl 2.25.1
(slf4j 1.7's binding, which is Kafka's), without Kafka Connect and its web server, which a broker does not need.
"""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from deploy.local.errors import Missing

LIST = Path(__file__).with_name("kafka_jars.json")
VERSION = "4.3.1"


def cache() -> Path:
    """RAPPORT_CACHE, else ~/.cache/rapport/kafka, else (a home that cannot be written) a folder of ours below the temporary one."""
    named = os.environ.get("RAPPORT_CACHE")
    if named:
        choices = [Path(named).resolve()]
    else:
        choices = [
            Path(os.path.expanduser("~/.cache/rapport/kafka")),
            Path(tempfile.gettempdir()) / f"rapport-kafka-{os.geteuid()}",
        ]
    for folder in choices:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if folder.is_absolute() and folder.lstat().st_uid == os.geteuid() and os.access(folder, os.W_OK):
            return folder
    raise Missing(f"No folder for Kafka's jars: {choices[0]} cannot be written. Set RAPPORT_CACHE to one that can.")


def jars(folder: Path, say: Callable[[str], None], cancelled: Event | None = None) -> list[Path]:
    """The class path, in the order of the list; downloads what is missing (50 MB in all). Blocks.

    `cancelled` ends a download early. Raises Missing when the jars cannot be had, or are not those of the list.
    """
    wanted: dict[str, str] = json.loads(LIST.read_text())
    places = [folder / VERSION / file_name(coordinate) for coordinate in wanted]
    if all(place.exists() for place in places):
        return places
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [(coordinate, place) for coordinate, place in zip(wanted, places, strict=True) if not place.exists()]
        if missing:
            say(f"Downloading Apache Kafka {VERSION}: {len(missing)} files into {folder}, once ...")
            (folder / VERSION).mkdir(exist_ok=True)
            stop = cancelled or Event()
            with ThreadPoolExecutor(6) as pool:
                jobs = [pool.submit(download, name, wanted[name], place, folder, stop) for name, place in missing]
                try:
                    for job in jobs:
                        job.result()
                except Missing:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
    return places


def file_name(coordinate: str) -> str:
    """`group:artifact:version` as a file name that no other coordinate has."""
    return coordinate.replace(":", "_") + ".jar"


def download(coordinate: str, sha256: str, place: Path, folder: Path, cancelled: Event) -> None:
    """Download one jar. It is moved to `place` only if its hash is right. Raises Missing."""
    from jgo.maven import MavenContext  # its import costs half a second, and only the first start needs it

    if cancelled.is_set():
        raise Missing("The download of Kafka was stopped.")
    group, artifact, version = coordinate.split(":")
    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=30)
        try:
            got = context.project(group, artifact).at_version(version).artifact().resolve()
        except (OSError, RuntimeError) as error:  # requests' exceptions are OSErrors
            raise Missing(
                f"Kafka's jar {coordinate} could not be downloaded ({type(error).__name__}: {error}). The first start with Kafka "
                "needs the network; later ones do not. RAPPORT_CACHE may name a folder that another installation has filled."
            ) from error
        found = hashlib.sha256(got.read_bytes()).hexdigest()
        if found != sha256:
            raise Missing(
                f"Kafka's jar {coordinate} is damaged or altered (SHA-256 {found}, not {sha256}): it is not used."
            )
        got.replace(place)
