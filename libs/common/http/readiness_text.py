"""Readiness as text for people: what is missing, how far each reader is behind, what to do next."""

from collections.abc import Mapping
from typing import Any

_PAGE = "docs/operations.md"

#: What to do, by words of what is wrong; the first that fits.
_ADVICE = (
    ("rapport migrate", "Run `rapport migrate` with this release; the service goes on by itself."),
    ("cannot be changed", "Set RAPPORT_PARTITIONS back to what the database says, and start it again."),
    ("missing from", f"Rewind the forwarder of the topic: {_PAGE}#gaps."),
    ("disk", f"Make room where PostgreSQL keeps its data; nothing has to be restarted: {_PAGE}#disk-full."),
    ("Kafka", f"See that brokers run where RAPPORT_KAFKA_BOOTSTRAP says; nothing has to be restarted: {_PAGE}#kafka-is-away."),
    ("PostgreSQL", f"See that it runs and that RAPPORT_DATABASE_URL leads to it; nothing has to be restarted: {_PAGE}#postgresql-is-away."),
    ("no answer within", f"It may only be busy: look again, then at PostgreSQL and Kafka: {_PAGE}#a-service-is-not-ready."),
    ("ended", f"Restart the process, and keep its log: {_PAGE}#a-service-is-not-ready."),
    ("not started yet", ""),
    ("", f"Look at its log: {_PAGE}#a-service-is-not-ready."),
)  # fmt: skip


def readiness_text(readiness: Mapping[str, Any]) -> str:
    """The whole of /readyz as text."""
    missing = {name: each["detail"] for name, each in readiness["checks"].items() if not each["ok"]}
    said = {"ready": "is ready", "draining": "is stopping and takes no new requests"}
    lines = [f"{readiness['service']} {said.get(readiness['status'], 'is not ready')}."]
    if well := [name for name, each in readiness["checks"].items() if each["ok"]]:
        lines.append(f"Well: {', '.join(_well(name, readiness['checks'][name]['detail']) for name in well)}.")
    lines += [f"Missing: {name}, because {detail or 'it does not say why'}." for name, detail in missing.items()]
    lines += [f"Needs a person: {concern}." for concern in readiness["concerns"]]
    lines += [_behind(lag) for lag in readiness["readers"]]
    lines.append("What to do: " + (_todo(missing, readiness["concerns"]) or "nothing."))
    return "\n".join(lines) + "\n"


def _well(name: str, detail: str) -> str:
    return f"{name} ({detail})" if detail else name


def _behind(lag: Mapping[str, Any]) -> str:
    """`It has read everything of profile.journal.`"""
    sends = lag["reader"] == "forwarder"
    done, todo = ("sent", "to Kafka") if sends else ("read", "of")
    who = "The forwarder" if sends else "It"
    topic = f"of {lag['topic']} {todo}" if sends else f"{todo} {lag['topic']}"
    if not lag["records"]:
        return f"{who} has {done} everything {topic}."
    records = "1 record" if lag["records"] == 1 else f"{lag['records']:,} records"
    return f"{who} has still to {'send' if sends else 'read'} {records} {topic}; the oldest has waited {duration(lag['seconds'])}."


def duration(seconds: float) -> str:
    """`12 seconds`, `3 minutes`, `5 hours`, `4 days`."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    if seconds < 1:
        return "less than a second"
    return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"


def _todo(missing: Mapping[str, str], concerns: list[str]) -> str:
    advised = dict.fromkeys(next(advice for words, advice in _ADVICE if words in detail) for detail in missing.values())
    if concerns:
        advised[f"Look at each of what needs a person: {_PAGE}#a-partition-has-stopped."] = None
    return " ".join(advice for advice in advised if advice)
