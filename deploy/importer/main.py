"""`rapport import`: sends a file of history to ingest. Events keep their own time, and send no messages."""

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from deploy.importer import identity, mapping, mapping_file
from deploy.importer.cells import Refused
from deploy.importer.checkpoint import Checkpoint, alone
from deploy.importer.importing import Importing, Totals, encode
from deploy.importer.ingest import Ingest
from deploy.importer.mapping import AsItIs, Events
from deploy.importer.rows import Line, RowFile
from deploy.local.errors import LocalError
from deploy.local.place import Place

SHOWN = 5  # rows of a dry run
_LOOKED_AT = 1_000  # rows in which a dry run looks for the columns

Advance = Callable[[int], None]


def parser() -> argparse.ArgumentParser:
    """The options."""
    top = argparse.ArgumentParser(prog="rapport import", description=__doc__)
    top.add_argument("file", type=Path, metavar="FILE", help="CSV with a header, or NDJSON (.ndjson, .jsonl)")
    top.add_argument("--map", type=Path, metavar="MAPPING", help="which column is what (JSON; see the API guide)")
    top.add_argument("--to", metavar="URL", help="ingest's address (default: RAPPORT_INGEST_URL, else the local one)")
    top.add_argument("--key", help="a write key of the source (default: RAPPORT_WRITE_KEY, else the local one)")
    top.add_argument("--dry-run", action="store_true", help=f"show the first {SHOWN} rows as events, and send nothing")
    return top


def main(argv: Sequence[str]) -> int:
    """Exit codes: 0, every row's event is stored; 1, some were refused (they stand in the report), or the import failed."""
    options = parser().parse_args(argv)
    file = RowFile(options.file)
    events = _mapping(file, options.map)
    if options.dry_run:
        return dry_run(file, events)
    console = Console(stderr=True)
    with alone(file.path):
        return _import(file, events, options, console)


def dry_run(file: RowFile, events: Events) -> int:
    """Print the events of the first rows, or why a row gives none. Returns 1 if one gives none."""
    first = list(islice(file.lines(), _LOOKED_AT))
    mapping_file.require_columns(events, file.header or _columns(first, events))
    ids, refused = identity.MessageIds(frozenset()), 0
    for line in first[:SHOWN]:
        try:
            if line.fault:
                raise Refused(line.fault)
            event = events.event(line.row)
        except Refused as reason:
            refused += 1
            print(f"line {line.number} is refused: {reason}")
            continue
        event.setdefault("messageId", ids.of(line.row))
        print(f"line {line.number}: {json.dumps(json.loads(encode(event)), indent=2, ensure_ascii=False)}")
    print(f"Nothing was sent: without --dry-run, the rows of {file.path} are imported like these.")
    return 1 if refused else 0


class _Survey(NamedTuple):
    """`equal` are the ids of rows that say the same, `twice` is how many rows have a messageId that an earlier row has."""

    rows: int
    digest: str
    equal: frozenset[int]
    twice: int


def _import(file: RowFile, events: Events, options: argparse.Namespace, console: Console) -> int:
    url, key = _target(options)
    with _progress(console, "reading", file.size) as advance:
        survey = _survey(file, events, advance)
    how = hashlib.sha256(options.map.read_bytes() if options.map else b"").hexdigest()
    to = hashlib.sha256(f"{url} {key}".encode()).hexdigest()
    path = file.path.with_name(f"{file.path.name}.import.json")
    checkpoint, other = Checkpoint.load(path, survey.digest, how, to)
    if checkpoint.finished:
        _say(
            console,
            f"{file.path} was imported on {checkpoint.finished}: {checkpoint.stored:,} events, {checkpoint.refused:,} rows"
            f" refused. To send it again, delete {path}; what is stored already counts once, for five weeks.",
        )
        return 1 if checkpoint.refused else 0
    if other:
        _say(
            console, "The file, the mapping or the target has changed since the last import: starting at the first row."
        )
    elif checkpoint.rows:
        _say(console, f"Continuing after {checkpoint.rows:,} of {survey.rows:,} rows.")
    with _progress(console, "importing", survey.rows) as advance, Ingest(url, key, partial(_say, console)) as ingest:
        advance(checkpoint.rows)
        totals = Importing(file, events, survey.equal, ingest, checkpoint, path, advance).run()
    _summary(console, totals, survey)
    return 1 if totals.refused else 0


def _survey(file: RowFile, events: Events, advance: Advance) -> _Survey:
    """One reading of the whole file: how many rows, what it is, which rows say the same; and its columns are checked."""
    if file.header:
        mapping_file.require_columns(events, file.header)
    digest, own, contents, rows = hashlib.sha256(), identity.Seen(), identity.Seen(), 0
    first: list[Line] = []
    missing = set() if file.header else set(events.columns)
    for line in file.lines(advance, digest):
        rows += 1
        if len(first) < _LOOKED_AT:
            first.append(line)
        if missing:
            missing -= {column for column in missing if mapping.look_up(line.row, column) is not None}
        if line.fault:
            continue
        if (id := events.own_id(line.row)) is not None:
            own.note(id)
        else:
            contents.note(identity.content(line.row))
    if missing and rows:
        mapping_file.require_columns(events, _columns(first, events))
    return _Survey(rows, digest.hexdigest(), contents.repeats().ids, own.repeats().rows)


def _columns(lines: Sequence[Line], events: Events) -> list[str]:
    """The columns of objects: their members, and of nested ones those that are mapped."""
    found = dict.fromkeys(name for line in lines for name in line.row)
    for column in events.columns:
        if any(mapping.look_up(line.row, column) is not None for line in lines):
            found[column] = None
    return list(found)


def _summary(console: Console, totals: Totals, survey: _Survey) -> None:
    _say(console, f"{totals.stored:,} of {survey.rows:,} rows are stored as events.")
    if survey.twice:
        _say(console, f"{survey.twice:,} rows have a messageId that an earlier row has: they count once.")
    for reason, count in sorted(totals.warnings.items(), key=lambda item: -item[1])[:10]:
        _say(console, f"Warning, {count:,} times: {reason}")
    if totals.refused:
        _say(console, f"{totals.refused:,} rows were refused: {totals.report} names their lines and why.")


def _mapping(file: RowFile, path: Path | None) -> Events:
    latest = datetime.now(UTC)
    if path is not None:
        return mapping_file.load(path, latest)
    if file.is_csv:
        raise LocalError(
            f"Give --map: a JSON file that says which column is what. The columns of {file.path} are"
            f" {', '.join(map(repr, file.header))}. For example:\n  " + mapping.EXAMPLE
        )
    return AsItIs(latest)


def _target(options: argparse.Namespace) -> tuple[str, str]:
    place = Place.load()
    url = options.to or os.environ.get("RAPPORT_INGEST_URL") or f"http://127.0.0.1:{place.port_base}"
    key = options.key or os.environ.get("RAPPORT_WRITE_KEY")
    if not key:
        try:
            key = json.loads((place.home / "tokens.json").read_text())["write_key"]
        except (OSError, ValueError, KeyError):
            raise LocalError("Give --key (or RAPPORT_WRITE_KEY): a write key of the source to import into.") from None
    return url.rstrip("/"), str(key)


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def _progress(console: Console, title: str, total: int) -> Iterator[Advance]:
    columns = (TextColumn(f"{title:<10}"), BarColumn(), TaskProgressColumn(show_speed=True), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total)
        yield lambda more: progress.advance(task, more)
