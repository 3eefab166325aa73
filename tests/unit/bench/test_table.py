"""The table of `make bench`: the best attempt stands, and rows of earlier runs stay."""

import json
from pathlib import Path

from tests.bench.table import ROWS, Figure, best, write
from tests.bench.workload import Workload


def test_the_best_attempt_stands() -> None:
    attempts = [Figure("null", f"{rate}/s", "", "", rate) for rate in (1.0, 3.0, 2.0)]
    assert best(attempts)["null"].here == "3.0/s"


def test_rows_that_were_not_measured_stay(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    write(path, {"idle": Figure("idle", "3 %", "", "", 0), "null": Figure("null", "old", "", "", 0)}, "first")
    lines = write(path, {"null": Figure("null", "new", "bare", "0.5", 0)}, "second")
    assert path.read_text().splitlines() == lines
    assert [line.split(" | ")[1] for line in lines[2:4]] == ["new", "3 %"]
    assert lines[4:] == ["", "second"]


def test_every_row_has_its_cells() -> None:
    assert all(row.key and row.measure and row.at_least and "|" not in row.measure for row in ROWS)


def test_events_are_json_that_nobody_has_sent_before() -> None:
    workload = Workload()
    sent = [event for body in workload.batches(250) for event in json.loads(body)["batch"]]
    sent += [json.loads(body) for body in workload.orders(3)]
    assert len({event["messageId"] for event in sent}) == len(sent) == 253
    assert {event["event"] for event in sent} == {"Order Completed", "Product Viewed"}
    assert 400 < len(json.dumps(sent[0])) < 600
