"""Warnings are counted by wording, within bounds."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.ingest.warning_counts import wording

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = UUID(int=1)


@pytest.mark.parametrize(
    ("warning", "words"),
    [
        ("timestamp 'today' is not ISO 8601", "timestamp … is not ISO 8601"),
        ('userId "it\'s me" identifies nobody', "userId … identifies nobody"),
        ("its hash sha256:00aa is used", "its hash … is used"),
        ("revenue '1,250.00' was taken for 1250.00: write it", "revenue … was taken for … write it"),
    ],
)
def test_what_is_particular_to_an_event_is_left_out(warning: str, words: str) -> None:
    assert wording(warning) == words
