"""What repeats itself is said once a minute for each cause, with how often it was."""

import json
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import structlog

from libs.common.contracts.records import encode
from libs.common.errors import Unavailable
from libs.common.fold import outage
from libs.common.fold.failure_log import FailureLog
from libs.common.log.reader import Record, TopicPartition
from libs.common.observability import log_throttle
from libs.common.observability.log_throttle import LogThrottle
from libs.common.observability.telemetry import configure_logs

AT = datetime(2026, 1, 1, tzinfo=UTC)
WHERE = TopicPartition("profile.journal", 3)


@pytest.fixture
def logs() -> Iterator[None]:
    """As a service has them; put back afterwards."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    configure_logs("test")
    yield
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)
    for name in ("aiokafka", "opentelemetry"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def merged(offset: int = 7) -> Record:
    value = encode(
        id="f1", source="/profile", type="customer.merged.v1", time=AT, recordedtime=AT, data={"other": "x"},
        causationid="e1", subject="c1", traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )  # fmt: skip
    return Record(*WHERE, offset, "c1", value, AT, offset)


def test_a_cause_is_due_once_in_a_while_with_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    often = LogThrottle(every=0.0)
    assert [often.due("a"), often.due("a"), often.due("b")] == [1, 1, 1]
    seldom = LogThrottle(every=3600.0)
    assert [seldom.due("a"), seldom.due("a"), seldom.due("a"), seldom.due("b")] == [1, None, None, 1]
    later = time.monotonic() + 3600.0
    monkeypatch.setattr(log_throttle, "time", SimpleNamespace(monotonic=lambda: later))
    assert seldom.due("a") == 3


@pytest.mark.usefixtures("logs")
def test_kafkas_client_speaks_once_for_each_cause_and_in_our_words(capsys: pytest.CaptureFixture[str]) -> None:
    for node in range(50):
        logging.getLogger("aiokafka").error("Unable connect to node with id %s: %s", node, "refused")
        logging.getLogger("aiokafka.producer.sender").warning("Got error produce response: %s", node)
        logging.getLogger("aiokafka.cluster").info("quiet")
        logging.getLogger("aiokafka.x").error("Something new %d", node)
    said = lines(capsys)
    assert [(line["event"], line["level"]) for line in said] == [
        ("a Kafka broker cannot be reached", "error"),
        ("Kafka does not accept records", "warning"),
        ("Something new 0", "error"),
    ]
    assert said[0]["message"] == "Unable connect to node with id 0: refused"


@pytest.mark.usefixtures("logs")
def test_a_stopped_partition_is_told_once_with_all_that_is_known_of_its_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failure_log = FailureLog()
    for _ in range(10):
        failure_log.failed_alone(WHERE, merged())
        failure_log.paused(WHERE, KeyError("other"), 1.0)
    (line,) = lines(capsys)
    assert line["event"] == "fold stopped at a record"
    expected = {
        "record_id": "f1", "causation_id": "e1", "customer": "c1", "topic": "profile.journal", "partition": 3, "offset": 7,
        "type": "customer.merged.v1", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }  # fmt: skip
    assert expected.items() <= line.items()
    assert failure_log.pauses == {"record": 10}
    sentence = failure_log.stopped[WHERE].sentence()
    assert "partition profile.journal/3 has been stopped at offset 7" in sentence
    assert "KeyError: 'other'" in sentence
    failure_log.moved(WHERE)
    assert failure_log.stopped == {}


@pytest.mark.usefixtures("logs")
def test_an_outage_is_one_line_for_all_partitions(capsys: pytest.CaptureFixture[str]) -> None:
    failure_log = FailureLog()
    for partition in range(8):
        for _ in range(20):
            failure_log.paused(TopicPartition("profile.journal", partition), ConnectionRefusedError("refused"), 0.1)
    (line,) = lines(capsys)
    assert (line["event"], line["reason"]) == ("fold paused", "PostgreSQL cannot be reached")
    assert failure_log.pauses == {"postgres_away": 160}
    assert failure_log.stopped == {}


@pytest.mark.usefixtures("logs")
def test_a_dead_letter_is_told_even_when_nothing_in_it_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    failure_log = FailureLog()
    failure_log.dead_lettered(WHERE, merged()._replace(value=b"\x00"), ValueError("no JSON"))
    failure_log.dead_lettered(WHERE, merged(8), ValueError("bad"))
    first, second = lines(capsys)
    assert (first["offset"], first["customer"]) == (7, "c1")
    assert (second["record_id"], second["causation_id"]) == ("f1", "e1")


def test_causes_have_words() -> None:
    kafka = Unavailable("Kafka did not acknowledge within 5 s")
    cases: list[tuple[Exception, str]] = [
        (asyncpg.DiskFullError("could not extend file"), "disk_full"),
        (asyncpg.TooManyConnectionsError("sorry"), "too_many_connections"),
        (asyncpg.LockNotAvailableError("lock"), "lock_timeout"),
        (asyncpg.AdminShutdownError("shutdown"), "postgres_away"),
        (asyncpg.InterfaceError("closed"), "postgres_away"),
        (ConnectionRefusedError(), "postgres_away"),
        (TimeoutError(), "timeout"),
        (kafka, "kafka_away"),
        (Unavailable("stopping"), "other"),
    ]
    for error, cause in cases:
        assert outage.cause(error) == cause, error
        assert outage.REASONS[cause]
