"""The demo over each log, and once more a day later: the same customers, points, messages and figures to the last one."""

import asyncio
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from rich.console import Console

from deploy.demo.api import Api
from deploy.demo.main import Demo
from deploy.demo.summary import PUBLISHED
from deploy.local.platform import Platform
from deploy.local.ports import SPAN, free_base

TODAY = datetime.now(UTC).date()


async def played(home: Path, base: int, log: Literal["postgres", "kafka"], days: int = 0) -> tuple[dict[str, Any], str]:
    """The summary of one run and what it showed."""
    console = Console(file=io.StringIO(), width=140)
    async with (
        Platform(home=home, port_base=base, log=log, fsync=False, say=console.print) as platform,
        Api(platform) as api,
    ):
        await Demo(console, platform, api, home, TODAY + timedelta(days=days)).play()
    shown = console.file
    assert isinstance(shown, io.StringIO)
    return json.loads((home / "summary.json").read_text()), shown.getvalue()


def another_base(base: int) -> int:
    """For a platform that runs at the same time."""
    while abs((other := free_base()) - base) < SPAN:
        continue
    return other


@pytest.mark.timeout(900)
async def test_the_demo_is_the_same_on_each_log_and_on_a_second_run(tmp_path: Path) -> None:
    base = free_base()

    async def twice() -> list[tuple[dict[str, Any], str]]:
        return [await played(tmp_path / "postgres", base, "postgres", days) for days in (0, 1)]

    ((first, shown), (again, shown_again)), (over_kafka, _) = await asyncio.gather(
        twice(), played(tmp_path / "kafka", another_base(base), "kafka")
    )
    assert again == first
    assert over_kafka == first

    fitted = {**first["first"]["fit"]["bgnbd"], **first["first"]["fit"]["gamma_gamma"]}
    for name, published in PUBLISHED.items():
        digits = 3 if name in ("r", "alpha", "a", "b") else 2
        assert round(fitted[name], digits) == published, name
    assert first["second"]["metrics"]["orders"] == 6919
    assert first["second"]["profile"]["customers"] == 2357
    assert first["second"]["rewards"]["ledger_sum"] == 0
    assert first["second"]["profile"]["merges"] > 0
    assert first["second"]["profile"]["claims"] > 0
    assert len(first["at_risk"]) == 10
    assert "9,393 accepted, of which 0 were dropped" in shown
    assert "9,393 accepted, of which 9,393 were dropped" in shown_again
