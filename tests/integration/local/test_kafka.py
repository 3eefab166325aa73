"""Kafka as our child: it starts without a Java of the machine's, keeps records through a SIGKILL, and comes back at once."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.local import ports
from deploy.local.errors import AlreadyRunning, Missing, PortTaken
from deploy.local.kafka import Kafka
from deploy.local.kafka_jars import download, jars


@pytest.fixture
def broker(home: Path) -> Iterator[Kafka]:
    base = ports.free_base()
    made = Kafka(home / "odd, ü path", base, base + 1)
    yield made
    made.stop()


async def produce(bootstrap: str, value: bytes) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, compression_type="zstd")
    await producer.start()
    try:
        return int((await producer.send_and_wait("orders", value, partition=0)).offset)
    finally:
        await producer.stop()


async def read(bootstrap: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="none", enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition("orders", 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        return [bytes((await consumer.getone()).value) for _ in range(count)]
    finally:
        await consumer.stop()


async def test_keeps_records_through_a_sigkill_and_a_restart(
    broker: Kafka, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    bootstrap = broker.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("orders", 1, 1)])
    await admin.close()
    assert await produce(bootstrap, b"one") == 0
    with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
        Kafka(home / "odd, ü path", 1, 2).start()

    broker.kill()
    assert broker.exit_status() == -signal.SIGKILL
    broker.launch()
    broker.wait_ready()
    assert await produce(bootstrap, b"two") == 1

    broker.stop()
    assert ports.is_free(int(bootstrap.split(":")[1]))
    broker.start()
    assert await read(bootstrap, 2) == [b"one", b"two"]


def test_a_taken_port_is_named(home: Path) -> None:
    base = ports.free_base()
    blocked = Kafka(home, base, base)
    with socket.create_server((ports.HOST, base)), pytest.raises(PortTaken, match=f"Port {base} for Kafka"):
        blocked.start()


def test_a_jar_that_is_not_the_listed_one_is_not_used(home: Path) -> None:
    home.mkdir()
    place = home / "argparse4j.jar"
    with pytest.raises(Missing, match="damaged or altered"):
        download("net.sourceforge.argparse4j:argparse4j:0.7.0", "0" * 64, place, home, Event())
    assert not place.exists()


def test_without_the_network_it_says_what_is_needed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    home.mkdir()
    with pytest.raises(Missing, match=r"needs the network.*RAPPORT_CACHE"):
        jars(home, lambda _: None)
