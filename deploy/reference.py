"""docs/reference.md and docs/records.md, made from the code: settings, metrics, topics, record types, scopes.

`rapport reference` prints the first; `python -m deploy.reference --check` (a part of `make check`) compares both with the tree,
`--write` makes them anew.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from fastapi import FastAPI
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from libs.common.contracts import types_table
from libs.common.contracts.registry import SERVICES
from libs.common.contracts.types_table import row
from libs.common.settings import Settings
from services.connections import SETTINGS
from services.ingest import app as ingest
from services.metrics import app as metrics
from services.profile import app as profile
from services.rewards import app as rewards
from services.triggers import app as triggers

DOCS = Path(__file__).parents[1] / "docs"
APPS: dict[str, ModuleType] = {
    "ingest": ingest,
    "profile": profile,
    "rewards": rewards,
    "triggers": triggers,
    "metrics": metrics,
}
_NOWHERE = "postgresql://nobody@127.0.0.1/nothing"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    shown = "" if value in (None, (), {}) or value is PydanticUndefined else str(value)
    return f"`{shown}`" if shown and "*" not in shown else ""


def settings() -> str:
    """Every setting as a Markdown table: those of all services, then each service's own."""
    lines = [row("variable", "default", "meaning"), row("---", "---", "---")]
    common = Settings.model_fields
    lines += [
        row(f"`RAPPORT_{name.upper()}`", _default(field), field.description or "") for name, field in common.items()
    ]
    for service in SERVICES:
        for name, field in SETTINGS[service].model_fields.items():
            if name not in common:
                variable = f"`RAPPORT_{service.upper()}_{name.upper()}`"
                lines.append(row(variable, _default(field), field.description or ""))
    return "\n".join(lines)


def undescribed() -> list[str]:
    """Settings that say nothing of what they mean."""
    found = {name: field for service in SERVICES for name, field in SETTINGS[service].model_fields.items()}
    return sorted(name for name, field in found.items() if not field.description)


def measured() -> str:
    """Every metric of the services' own as a Markdown table, with its labels and who has it."""
    seen: dict[str, tuple[str, str, str, list[str]]] = {}
    for service, module in APPS.items():
        app: FastAPI = module.create(SETTINGS[service](database_url=_NOWHERE))
        for kind, name, labels, meaning in _metrics(app):
            seen.setdefault(name, (kind, labels, meaning, []))[3].append(service)
    lines = [row("metric", "kind", "labels", "of", "meaning"), row(*["---"] * 5)]
    for name, (kind, labels, meaning, services) in sorted(seen.items()):
        of = "all" if len(services) == len(SERVICES) else ", ".join(services)
        lines.append(row(f"`{name}`", kind, labels, of, meaning))
    return "\n".join(lines)


def _metrics(app: FastAPI) -> Iterator[tuple[str, str, str, str]]:
    registry = app.state.meter.registry
    for collector in list(registry._collector_to_names):
        if (name := getattr(collector, "_name", "")).startswith("rapport_"):
            kind = collector._type
            shown = f"{name}_total" if kind == "counter" else name
            labels = ", ".join(f"`{label}`" for label in collector._labelnames)
            yield kind, shown, labels, collector._documentation


def page() -> str:
    """docs/reference.md as it should be."""
    return f"""# Settings and metrics

`rapport reference` makes this page from the code, and `make check` compares the two.

## Settings

A service reads its settings from the environment when it starts. `RAPPORT_REWARDS_X` (say) wins over `RAPPORT_X` in rewards. A
setting whose name ends in `_FILE` names a file that holds the secret.

{settings()}

## Metrics

Each service answers `/metrics` in Prometheus' text format.

{measured()}
"""


def pages() -> dict[Path, str]:
    """Every generated page, by its place."""
    return {DOCS / "reference.md": page(), DOCS / "records.md": types_table.page()}


def main() -> int:
    """`rapport reference`, with --check or --write: returns 1 when a page is not as the code says."""
    words = sys.argv[1:]
    if "--write" in words:
        for place, text in pages().items():
            place.write_text(text)
        return 0
    if "--check" not in words:
        print(page(), end="")
        return 0
    stale = [place.name for place, text in pages().items() if not place.exists() or place.read_text() != text]
    if stale:
        print(f"docs/{', docs/'.join(stale)} are not as the code says: run `python -m deploy.reference --write`.")
    if missing := undescribed():
        print(f"These settings have no description: {', '.join(missing)}.")
    return 1 if stale or missing else 0


if __name__ == "__main__":
    sys.exit(main())
