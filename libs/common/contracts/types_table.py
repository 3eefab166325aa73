"""docs/records.md, made from the contracts: topics, types of record, scopes."""

from libs.common.contracts.events import NAMES, TYPES
from libs.common.contracts.ingest import EVENTS
from libs.common.contracts.records import display_name
from libs.common.contracts.registry import CONTRACTS, OWN_SCOPES, SCOPES, TOPICS

_THROUGH_JOURNAL = "profile, then rewards, triggers, metrics from `profile.journal`"


def row(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def topics() -> str:
    """The topics as a Markdown table."""
    lines = [row("topic", "written by", "key", "says", "read by"), row(*["---"] * 5)]
    lines += [row(f"`{t.name}`", t.writer, t.key, t.says, ", ".join(t.readers)) for t in TOPICS]
    return "\n".join(lines)


def types() -> str:
    """Every type of record as a Markdown table."""
    lines = [row("type", "what marketers call it", "written by", "topic", "read by", "means"), row(*["---"] * 6)]
    for kind, type in TYPES.items():
        name = NAMES.get(kind, "the event's own name")
        lines.append(row(f"`{type}`", name, "ingest", f"`{EVENTS}`", _THROUGH_JOURNAL, "what a client app said"))
    for contract in CONTRACTS:
        topic = contract.topic
        readers = ", ".join(topic.readers) if contract.service == "profile" else _THROUGH_JOURNAL
        for fact in contract.facts:
            meaning, name = " ".join((fact.__doc__ or "").split()), display_name(fact.TYPE)
            lines.append(row(f"`{fact.TYPE}`", name, contract.service, f"`{topic.name}`", readers, meaning))
    return "\n".join(lines)


def scopes() -> str:
    """The scopes of tokens as a Markdown table."""
    lines = [row("scope", "roles that hold it"), row("---", "---")]
    lines += [row(f"`{scope}`", ", ".join(roles)) for scope, roles in SCOPES.items()]
    lines += [row(f"`{scope}`", "a customer's own token") for scope in OWN_SCOPES]
    return "\n".join(lines)


def page() -> str:
    """docs/records.md as it should be."""
    return f"""# Topics, records and scopes

`rapport topics` makes this page from the code, and a test compares the two. Every record is a
[CloudEvents 1.0](https://cloudevents.io) event in structured JSON with `data` last. `tests/contract/records/` holds one golden
example of each type.

## Topics

{topics()}

## Types

{types()}

## Scopes

{scopes()}
"""


def main() -> int:
    """`rapport topics`: print the page."""
    print(page(), end="")  # noqa: T201
    return 0
