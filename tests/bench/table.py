"""The table: its rows, what one measurement found, and how it is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

HEAD = ("measure", "here", "bare limit, same run", "ratio", "at least", "aim")


@dataclass(frozen=True)
class Row:
    """A row by its key: what is measured, what it should be at least, and what would be good."""

    key: str
    measure: str
    at_least: str
    aim: str


@dataclass(frozen=True)
class Figure:
    """One attempt at a row. Of several the one with the highest `score` stands."""

    row: str
    here: str
    bare: str
    ratio: str
    score: float


ROWS = (
    Row("singles", "ingest, durable single events/s at 64 connections, against a raw ASGI echo", "0.35", "0.5"),
    Row("batches", "ingest, events/s in batches of 100, one process, against COPY of the same bytes", "0.25", "0.4"),
    Row("null", "all five end to end, events/s in batches of 100, against the null loop", "0.27", "0.45"),
    Row("visible", "POST to visible points, 100 single events/s, p50 / p99", "12 / 40 ms", "5 / 12 ms"),
    Row("visible-kafka", "the same over Kafka, p99", "120 ms", "40 ms"),
    Row("cpu", "CPU per event at 100 single events/s, against batches of 100", "15×", "6×"),
    Row("kafka", "end to end over Kafka, events/s, against PostgreSQL as the log", "0.5", "0.8"),
    Row("customers", "end to end with 1,000,000 customers, events/s, against 100,000", "0.8", "0.9"),
    Row("processes", "two processes of profile, events/s, against one, nothing else running", "1.4×", "1.8×"),
    Row("backlog", "1,000,000 events behind while ingest goes on: events/s, against the steady rate", "0.8", "1"),
    Row("idle", "idle: CPU of the whole platform, in % of a core", "5 %", "2 %"),
    Row("memory", "memory of all five processes, idle / after 1,000,000 events", "600 MB / flat", "400 MB"),
    Row("hot", "p99 to visible points while another customer has 1,000 events/s, against quiet", "2×", ""),
    Row("segments", "end to end with 1,000 live segments that do not read what changes, against 10", "0.85", "0.95"),
    Row("history", "single orders of a customer who has 10,000, events/s, against one who has 10", "0.8", "0.95"),
)


def best(figures: Iterable[Figure]) -> dict[str, Figure]:
    """The best attempt at each row."""
    found: dict[str, Figure] = {}
    for figure in figures:
        if figure.row not in found or figure.score > found[figure.row].score:
            found[figure.row] = figure
    return found


def lines(found: Mapping[str, Figure], before: Iterable[str] = ()) -> list[str]:
    """The table as Markdown. Rows that were not measured are taken from the lines of an earlier table, if there."""
    kept = {line.split(" | ")[0].removeprefix("| "): line for line in before if line.startswith("| ")}
    table = [f"| {' | '.join(HEAD)} |", "|" + " --- |" * len(HEAD)]
    for row in ROWS:
        if figure := found.get(row.key):
            cells = (row.measure, figure.here, figure.bare, figure.ratio, row.at_least, row.aim)
            table.append(f"| {' | '.join(cells)} |")
        elif row.measure in kept:
            table.append(kept[row.measure])
    return table


def write(path: Path, found: Mapping[str, Figure], caption: str) -> list[str]:
    """Write the table to `path`, over the rows that an earlier run wrote there; its lines."""
    table = lines(found, path.read_text().splitlines() if path.exists() else ())
    table += ["", caption]
    path.write_text("\n".join(table) + "\n")
    return table
