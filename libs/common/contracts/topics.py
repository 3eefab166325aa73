"""The topics: each has exactly one writing service, and is named after it."""

from typing import NamedTuple


class Topic(NamedTuple):
    """Who writes a topic, what its key is, what it says and who reads it.

    Readers `at_once` are told of the records whose names are awaited as soon as they are there, because somebody waits for
    what they make of them, and of the rest a little later (`log/bell.py`); the others look now and then, which costs them and
    the log far less. A topic without such readers, as all of facts, is told to nobody.
    """

    name: str
    writer: str
    key: str
    says: str
    readers: tuple[str, ...]
    at_once: tuple[str, ...] = ()


EVENTS = "ingest.events"
JOURNAL = "profile.journal"
REWARDS = "rewards.facts"
TRIGGERS = "triggers.facts"
METRICS = "metrics.facts"

#: Where profile tells over Kafka until when all is heard (`fold/heard.py`): no records, and only the newest message counts.
HEARD = "profile.heard"

TOPICS = (
    Topic(EVENTS, "ingest", "anonymousId, else userId", "what a client app said happened", ("profile",), ("profile",)),
    Topic(JOURNAL, "profile", "customer id", "what a customer did, with the customer as they were",
          ("rewards", "triggers", "metrics"), ("rewards",)),
    Topic(REWARDS, "rewards", "customer id", "points, badges and levels that rewards decided", ("profile",)),
    Topic(TRIGGERS, "triggers", "customer id", "messages that triggers queued, withheld, sent or saw read", ("profile",)),
    Topic(METRICS, "metrics", "customer id", "risk and value bands that metrics found changed", ("profile",)),
)  # fmt: skip

NAMES = tuple(topic.name for topic in TOPICS)


def written_by(service: str) -> list[str]:
    """The topics that a service writes (one each)."""
    return [topic.name for topic in TOPICS if topic.writer == service]


def read_by(service: str) -> list[str]:
    """The topics that a service reads."""
    return [topic.name for topic in TOPICS if service in topic.readers]


def told_at_once(service: str | None = None) -> list[str]:
    """The topics of whose records somebody (or `service`) is told at once."""
    return [topic.name for topic in TOPICS if topic.at_once and (service is None or service in topic.at_once)]


def table() -> str:
    """The topics as a Markdown table."""
    lines = ["| topic | written by | key | says | read by |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| `{t.name}` | {t.writer} | {t.key} | {t.says} | {', '.join(t.readers)} |" for t in TOPICS]
    return "\n".join(lines)
