"""Logs as in production, so that a test can read them."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from libs.common.observability.telemetry import configure_logs


@pytest.fixture(autouse=True, scope="package")
def json_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logs("tiny", "info")
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
