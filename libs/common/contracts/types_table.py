"""The table of record types, generated from the code: who writes, who reads, what marketers call them."""

from libs.common.contracts import topics
from libs.common.contracts.events import NAMES, TYPES
from libs.common.contracts.facts import WRITTEN_BY
from libs.common.contracts.records import display_name

_OWN_NAME = "the event's own name"


def table() -> str:
    """Every type of record as a Markdown table."""
    lines = [
        "| type | what marketers call it | written by | topic | read by | means |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    means = "what a client app said"
    readers = "profile, then rewards, triggers, metrics from `profile.journal`"
    for kind, type in TYPES.items():
        name = NAMES.get(kind, _OWN_NAME)
        lines.append(f"| `{type}` | {name} | ingest | `{topics.EVENTS}` | {readers} | {means} |")
    for service, facts in WRITTEN_BY.items():
        topic = topics.written_by(service)[0]
        readers = "rewards, triggers, metrics" if service == "profile" else readers
        for fact in facts:
            meaning = " ".join((fact.__doc__ or "").split())
            lines.append(
                f"| `{fact.TYPE}` | {display_name(fact.TYPE)} | {service} | `{topic}` | {readers} | {meaning} |"
            )
        readers = "profile, then rewards, triggers, metrics from `profile.journal`"
    return "\n".join(lines)


def page() -> str:
    """docs/records.md as it should be."""
    return f"""# Topics and records

Made from the code by `rapport topics`; a test keeps it so. Every record is a [CloudEvents 1.0](https://cloudevents.io) event in
structured JSON with `data` last. One golden example of each type lies in `tests/contract/records/`.

## Topics

{topics.table()}

## Types

{table()}
"""


def main() -> int:
    """`rapport topics`: print the page."""
    print(page(), end="")  # noqa: T201
    return 0
