"""`make bench`: a table of the platform's speed, each figure beside the bare limit measured in the same run.

ROWS=singles,null measures some rows only; BEST=1 each once, not three times; SCALE=0.01 with a hundredth of the events and
customers; OUT=FILE writes the table elsewhere than to bench.md.
"""

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from tests.bench.against_null import null
from tests.bench.alone import batches, singles
from tests.bench.bench import Bench, Measurement, say
from tests.bench.crowd import customers
from tests.bench.day import day
from tests.bench.history import history
from tests.bench.over_kafka import over_kafka
from tests.bench.processes import processes
from tests.bench.processor import idle, per_event
from tests.bench.segments import segments
from tests.bench.table import ROWS, Figure, best, write
from tests.bench.visible import hot, visible, visible_over_kafka

#: In the order in which they are measured; one may find several rows, and the names of all of them select it.
MEASUREMENTS: tuple[tuple[tuple[str, ...], Measurement], ...] = (
    (("singles", "ingest"), singles),
    (("batches", "ingest"), batches),
    (("null", "end-to-end"), null),
    (("visible", "latency"), visible),
    (("visible-kafka", "latency"), visible_over_kafka),
    (("cpu",), per_event),
    (("kafka", "end-to-end"), over_kafka),
    (("customers", "slow"), customers),
    (("processes",), processes),
    (("backlog", "memory", "slow"), day),
    (("idle",), idle),
    (("hot", "latency"), hot),
    (("segments",), segments),
    (("history",), history),
)


def selected(names: str) -> list[Measurement]:
    """The measurements that ROWS names; all when it is empty. Exits with a sentence when there is no such row."""
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    known = {name for keys, _ in MEASUREMENTS for name in keys}
    if wanted - known:
        sys.exit(f"There is no row {', '.join(sorted(wanted - known))}; the rows are {', '.join(sorted(known))}.")
    return [measure for keys, measure in MEASUREMENTS if not wanted or wanted & set(keys)]


async def main() -> None:
    bench = Bench(scale=float(os.environ.get("SCALE") or 1), times=int(os.environ.get("BEST") or 3))
    path, names = Path(os.environ.get("OUT") or "bench.md"), {row.key: row.measure for row in ROWS}
    figures: list[Figure] = []
    caption = (
        f"Last run: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {platform.system()}"
        f" {platform.machine()}, Python {platform.python_version()}; the best of {bench.times}"
        + (f"; at {bench.scale:g} of the sizes named." if bench.scale != 1 else ".")
    )
    for measure in selected(os.environ.get("ROWS", "")):
        say(f"{measure.__name__}: {(measure.__doc__ or '').splitlines()[0]}")
        async for figure in measure(bench):
            say(f"  {names[figure.row]}: {figure.here} | {figure.bare} | {figure.ratio}")
            figures.append(figure)
            write(path, best(figures), caption)  # after each, as a long run may be broken off
    print("\n".join(write(path, best(figures), caption)))  # noqa: T201


if __name__ == "__main__":
    uvloop.run(main())
