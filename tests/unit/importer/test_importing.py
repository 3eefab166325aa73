"""An import that ends at any moment and is run again stores each row once, and reports each refused row once."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from deploy.importer import importing, ingest, main
from deploy.importer.checkpoint import alone
from deploy.importer.identity import MessageIds, Seen, content
from deploy.importer.ingest import Result
from deploy.local.errors import LocalError

MAP = {"event": {"value": "Visited"}, "userId": "who", "timestamp": "at", "properties": {"shop": "shop"}}
ROWS = [f"user{number % 7},2026-01-{number % 28 + 1:02},{'north' if number % 2 else 'south'}" for number in range(60)]


class Killed(BaseException):
    """The process ends here."""


class StandIn:
    """Ingest, as far as an import needs it: keeps what was sent, and may end the process before or after a batch."""

    sent: ClassVar[list[dict[str, Any]]] = []
    ends: ClassVar[list[str]] = []

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> "StandIn":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send(self, events: Sequence[bytes]) -> list[Result]:
        end = self.ends.pop(0) if self.ends else ""
        if end == "before":
            raise Killed
        decoded = [msgspec.json.decode(event) for event in events]
        self.sent.extend(decoded)
        if end == "after":
            raise Killed
        return [Result("rejected", "blocked") if event["userId"] == "user3" else Result("ok") for event in decoded]


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(main, "Ingest", StandIn)
    monkeypatch.setattr(importing, "BATCH", 10)
    monkeypatch.setattr(StandIn, "sent", [])
    monkeypatch.setattr(StandIn, "ends", [])
    monkeypatch.setenv("RAPPORT_WRITE_KEY", "rk_test")
    (tmp_path / "map.json").write_bytes(msgspec.json.encode(MAP))
    path = tmp_path / "visits.csv"
    rows = [*ROWS[:30], "user1,never,north", *ROWS[30:]]
    path.write_text("\n".join(["who,at,shop", *rows]))
    return path


def run(path: Path) -> int:
    return main.main([str(path), "--map", str(path.with_name("map.json"))])


def reported(path: Path) -> list[list[str]]:
    with path.with_name(f"{path.name}.refused.csv").open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    "ends",
    [[], ["before"], ["after"], ["", "", "after", "before"], ["", "", "", "", "", "after"], ["after"] * 5],
)
def test_wherever_it_ends_each_row_counts_once(orders: Path, ends: list[str]) -> None:
    StandIn.ends = [*ends]
    while StandIn.ends:
        try:
            run(orders)
        except Killed:
            continue
        break
    assert run(orders) == 1  # some rows are refused
    once = {event["messageId"]: event for event in StandIn.sent}
    assert Counter(event["properties"]["shop"] for event in once.values()) == {"north": 30, "south": 30}
    assert len(once) == len(ROWS)
    header, *lines = reported(orders)
    assert header == ["line", "reason", "row"]
    expected = [(number + 2 + (number >= 30), "blocked") for number in range(60) if number % 7 == 3]
    assert sorted((int(line), reason) for line, reason, _ in lines if reason == "blocked") == expected
    assert [row for _, reason, row in lines if reason != "blocked"] == ["user1,never,north"]


def test_a_finished_import_is_not_sent_again(orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(orders)
    before = len(StandIn.sent)
    assert run(orders) == 1
    assert len(StandIn.sent) == before
    assert "was imported on" in capsys.readouterr().err
    orders.with_name("visits.csv.import.json").unlink()
    run(orders)
    assert len(StandIn.sent) == 2 * before
    assert len({event["messageId"] for event in StandIn.sent}) == before


def test_a_file_that_has_grown_sends_new_ids_for_new_rows_only(orders: Path) -> None:
    run(orders)
    known = {event["messageId"] for event in StandIn.sent}
    orders.write_text(f"{orders.read_text()}\nuser9,2026-02-01,west")
    run(orders)
    assert [event["userId"] for event in StandIn.sent if event["messageId"] not in known] == ["user9"]


def test_rows_that_say_the_same_are_two_events_and_stay_two() -> None:
    row, other = {"who": "ann", "at": "1"}, {"who": "ben", "at": "1"}
    seen = Seen()
    for each in (row, other, row):
        seen.note(content(each))
    repeats = seen.repeats()
    assert repeats.rows == 1
    first, again = (MessageIds(repeats.ids) for _ in range(2))
    ids = [first.of(each) for each in (row, other, row)]
    assert len(set(ids)) == 3
    assert [again.of(each) for each in ({"at": "1", "who": "ann"}, other, row)] == ids
    assert Seen().repeats().ids == frozenset()


def test_two_imports_of_one_file_do_not_run_at_once(orders: Path) -> None:
    with alone(orders), pytest.raises(LocalError, match="Another import"):
        run(orders)


def test_a_dry_run_shows_events_and_sends_nothing(orders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([str(orders), "--map", str(orders.with_name("map.json")), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert '"userId": "user0"' in shown
    assert "line 6: " in shown
    assert "Nothing was sent" in shown
    assert StandIn.sent == []
    assert not orders.with_name("visits.csv.import.json").exists()


def test_csv_without_a_mapping_names_the_columns(orders: Path) -> None:
    with pytest.raises(LocalError, match="'who', 'at', 'shop'"):
        main.main([str(orders)])


def test_ndjson_needs_none_and_wrong_paths_are_found(orders: Path) -> None:
    path = orders.with_name("events.ndjson")
    event = {"type": "track", "event": "X", "userId": "ann", "timestamp": "2026-01-31T12:00:00Z", "at": {"shop": "n"}}
    path.write_bytes(msgspec.json.encode(event))
    assert main.main([str(path)]) == 0
    assert StandIn.sent[0]["messageId"]
    mapped = {**MAP, "userId": "userId", "timestamp": "timestamp", "properties": {"shop": "at.shops"}}
    orders.with_name("map.json").write_bytes(msgspec.json.encode(mapped))
    with pytest.raises(LocalError, match=r"no column 'at.shops'"):
        main.main([str(path), "--map", str(orders.with_name("map.json"))])


def test_it_waits_for_ingest_and_gives_up_in_the_end() -> None:
    said: list[str] = []
    pauses: list[float] = []
    with (
        ingest.Ingest("http://127.0.0.1:9", "rk_test", said.append, pauses.append) as there,
        pytest.raises(LocalError, match="same command continues"),
    ):
        there.send([b"{}"])
    assert 500 < sum(pauses) <= ingest.PATIENCE
    assert "trying again" in said[0]
