"""A feature of rewards is gone once its folder and its line in the list of features are."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKS = """
from datetime import UTC, datetime
from libs.common.contracts.input import Input
from services.rewards.app import create
from services.rewards.decider import absorb, decide, evolve
from services.rewards.inputs import OrderCompleted
from services.rewards.programme import Programme, compiled
from services.rewards.settings import Settings
from services.rewards.state import Account

import msgspec
app = create(Settings(database_url="postgresql://nobody@127.0.0.1/none"))
assert not any(path.endswith("/{gone}") or path.endswith("/{gone}".rstrip("s")) for path in app.openapi()["paths"])
rules = compiled(Programme.model_validate({{"name": "Club", "earning": [{{"id": "each", "earn": {{"points": 7}}}}]}}))
now = datetime(2026, 3, 1, tzinfo=UTC)
data = msgspec.Raw(b'{{"customer": {{"id": "c"}}, "properties": {{}}}}')
order = OrderCompleted("Order Completed", "track", data, order="1")
ann, ben = Account(), Account()
for account in (ann, ben):
    input = Input("o1", "track.v1", "/apps/shop", now, now, 0, False, None, order)
    evolve(account, input, decide(account, input, rules))
absorb(ann, ben)
print(ann.ledger.balance, sorted(Programme.model_fields))
"""


@pytest.mark.parametrize("gone", ["badges", "levels"])
def test_rewards_works_without_a_feature(tmp_path: Path, gone: str) -> None:
    for folder in ("libs", "services"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(tmp_path / "services" / "rewards" / gone)
    listed = tmp_path / "services" / "rewards" / "features.py"
    name = gone.capitalize()
    without = re.sub(
        rf"from services\.rewards\.{gone}\.feature import {name}\n|    {name}\(\),\n", "", listed.read_text()
    )
    listed.write_text(without)
    ended = subprocess.run(
        [sys.executable, "-c", WORKS.format(gone=gone)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    left = sorted({"name", "earning", "points", "badges", "levels"} - {gone})
    assert ended.stdout == f"14 {left}\n"
