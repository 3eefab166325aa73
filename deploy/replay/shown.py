"""The results of replays, as tables and as JSON."""

from collections.abc import Sequence
from typing import Any

import msgspec

from libs.common.replay.compare import Comparison
from libs.common.replay.replayable import Change

#: Customers that a table shows; JSON has them all.
SHOWN = 20


def as_json(value: object) -> str:
    """Indented, for files and pipes."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def comparisons(found: Sequence[Comparison]) -> str:
    """One line for each service, and below it the differences."""
    head = ("service", "records", "customers", "equal", "differing", "facts", "differing")
    rows = [
        (
            each.service,
            *(each.records, each.customers, each.customers - each.differing, each.differing),
            *(each.facts, each.differing_facts),
        )
        for each in found
    ]
    lines = [table(head, rows)]
    for each in found:
        for compared in each.tables:
            if compared.differing:
                lines.append(
                    f"{each.service}.{compared.table}: {compared.differing:,} of {compared.rows:,} rows differ"
                )
        lines += [f"  {one.customer} {one.what}: {one.live}  →  replayed {one.replayed}" for one in each.first]
    if all(each.equal for each in found):
        lines.append("The state is what the journal gives, byte for byte.")
    return "\n".join(lines)


def changes(service: str, found: Sequence[Change], customers: int) -> str:
    """The changes of a what-if, by customer and in sum."""
    keys = sorted({key for each in found for side in (each.now, each.then) for key in side})
    rows = [(str(each.customer), *(_cell(each, key) for key in keys)) for each in found[:SHOWN]]
    lines = [f"{service}: {len(found):,} of {customers:,} customers would be different."]
    if rows:
        lines.append(table(("customer", *keys), rows))
    if len(found) > SHOWN:
        lines.append(f"… and {len(found) - SHOWN:,} more: --json lists them all.")
    for key, (now, then) in sums(found).items():
        lines.append(f"{key}: {now:,} → {then:,} ({then - now:+,}) over all of these")
    return "\n".join(lines)


def sums(found: Sequence[Change]) -> dict[str, tuple[int, int]]:
    """(now, then), summed over all customers that change, for what can be summed: points, badges, messages by hook."""
    total: dict[str, list[int]] = {}
    for each in found:
        for place, side in enumerate((each.now, each.then)):
            for key, value in side.items():
                number = sum(value.values()) if isinstance(value, dict) else value
                if isinstance(number, int):
                    total.setdefault(key, [0, 0])[place] += number
    return {key: (now, then) for key, (now, then) in sorted(total.items())}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Aligned columns; numbers to the right."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *texts, strict=True)]
    right = [bool(rows) and isinstance(cell, int) for cell in (rows[0] if rows else head)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [list(head), *texts]
    )


def _cell(change: Change, key: str) -> str:
    now, then = _said(change.now.get(key)), _said(change.then.get(key))
    return now if now == then else f"{now} → {then}"


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" if count != 1 else name for name, count in value.items()) or "none"
    return "none" if value is None else str(value)
