"""What a replay folds again and compares: opt-outs, caps, last events, the event catalogue, and the messages decided.

Outcomes of deliveries are not replayed, and nothing is sent. Messages with a tombstone are left out.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec

from libs.common.contracts.ids import derived
from libs.common.contracts.records import decode
from libs.common.contracts.triggers import MessageQueued, MessageSent, OptedIn, OptedOut
from libs.common.db.pool import Tx
from libs.common.replay.replayable import CUSTOMERS, IDENTIFIERS, Change, Compared, Replayable
from services.triggers.decider import TriggersHandler
from services.triggers.domain.hook import Hook
from services.triggers.domain.rules import Live, Rules
from services.triggers.domain.rules import Rulebook as Book
from services.triggers.domain.rules import rules as compiled
from services.triggers.domain.state import Recipient
from services.triggers.domain.validation import refuse_faulty
from services.triggers.settings import Settings

_LAST = ("customer", "name", "record", "type", "source", "depth", "occurred_at", "received_at", "imported", "data")
#: Without an attempt, it was withheld when it was decided, and not later by a worker.
_DECIDED = "CASE WHEN state = 'withheld' AND attempts = 0 THEN {} END"
_MESSAGE = ("customer", "id", "hook", "version", "channel", "endpoint", "title", "text", "event", "cause", "depth",
            "traceparent", "occurred_at", _DECIDED.format("reason"), _DECIDED.format("detail"))  # fmt: skip
COMPARED = (
    CUSTOMERS,
    IDENTIFIERS,
    Compared("last_events", _LAST, "customer"),  # not folded_at
    Compared("event_catalogue", ("partition", "name", "path", "seen_at")),
    Compared("deliveries", _MESSAGE, "customer"),
)
STATE = ("customers", "identifiers", "last_events", "event_catalogue")
OUTSIDE = ("deliveries",)
ONLY_READ = ("message_tombstones",)

_COUNTS = """
SELECT customer, hook, now, "then" FROM (
  SELECT customer, coalesce(h.name, hook::text) AS hook,
    count(*) FILTER (WHERE live AND decided) AS now, count(*) FILTER (WHERE NOT live AND decided) AS "then"
  FROM (
    SELECT customer, hook, true AS live, state <> 'withheld' OR attempts > 0 AS decided FROM "{live}".deliveries
    UNION ALL SELECT customer, hook, false, state <> 'withheld' FROM "{shadow}".deliveries
  ) AS message LEFT JOIN "{live}".hooks AS h ON h.id = hook GROUP BY 1, 2
) AS counted WHERE customer IN (
  SELECT customer FROM (
    SELECT customer, hook, count(*) FROM "{live}".deliveries WHERE state <> 'withheld' OR attempts > 0 GROUP BY 1, 2
    EXCEPT SELECT customer, hook, count(*) FROM "{shadow}".deliveries WHERE state <> 'withheld' GROUP BY 1, 2
  ) AS lost
  UNION SELECT customer FROM (
    SELECT customer, hook, count(*) FROM "{shadow}".deliveries WHERE state <> 'withheld' GROUP BY 1, 2
    EXCEPT SELECT customer, hook, count(*) FROM "{live}".deliveries WHERE state <> 'withheld' OR attempts > 0 GROUP BY 1, 2
  ) AS won
) ORDER BY customer, hook
"""


def replayable(settings: Settings) -> Replayable[Recipient, Rules]:
    """Triggers for a replay."""
    handler = TriggersHandler(settings)
    return Replayable(
        "triggers",
        handler,
        STATE,
        COMPARED,
        differences,
        outside=OUTSIDE,
        only_read=ONLY_READ,
        taken_over=("event_catalogue",),
        kept_in_what_if=frozenset({OptedOut.TYPE, OptedIn.TYPE}),
        written=handler.decider.event_catalogue.committed,
        same=same_decision,
    )


def same_decision(recorded: bytes, made: bytes) -> bool:
    """Whether two facts are one decision. A fold that lags, by the clock, queues an inbox message (`decide._waits`); a replay
    has no clock and sends it with the decision."""
    was, now = decode(recorded), decode(made)
    queued_then = was.type == MessageQueued.TYPE and now.type == MessageSent.TYPE
    return queued_then and msgspec.structs.replace(was, id=now.id, type=now.type) == now


async def rules_with(tx: Tx, content: bytes, settings: Settings) -> Callable[[Tx, int], Awaitable[Rules]]:
    """The rules of a what-if: this hook (JSON) wherever the hook of its name was in force; a new hook always.

    Raises ValueError if `content` is not a hook, and Invalid if the hook has faults.
    """
    hook = Hook.model_validate_json(content)
    refuse_faulty(hook, lambda address: True)  # nothing is sent
    known = await tx.fetchval("SELECT id FROM triggers.hooks WHERE name = $1", hook.name)
    id = str(known or derived("what-if", hook.name))
    rows = await tx.fetch("SELECT number, content FROM triggers.rulebooks")
    books = {0: Book(None, []), **{row["number"]: msgspec.json.decode(row["content"], type=Book) for row in rows}}
    ever = any(live.id == id for book in books.values() for live in book.hooks)
    made: dict[int, Rules] = {}

    async def rules(tx: Tx, rulebook: int) -> Rules:
        if rulebook not in made:
            book = books[rulebook]
            others = [live for live in book.hooks if live.id != id]
            if len(others) < len(book.hooks) or not ever:
                others.append(Live(id, 0, msgspec.Raw(content)))
            book = msgspec.structs.replace(book, hooks=sorted(others, key=lambda live: live.id))
            made[rulebook] = compiled(book, settings.zone, settings.without_consent == "send")
        return made[rulebook]

    return rules


async def differences(tx: Tx, live: str, shadow: str) -> AsyncIterator[Change]:
    """Customers who would get more or fewer messages of a hook, with the numbers of sent and queued messages by hook."""
    customer: UUID | None = None
    now: dict[str, Any] = {}
    then: dict[str, Any] = {}
    for row in await tx.fetch(_COUNTS.format(live=live, shadow=shadow)):
        if customer is not None and row["customer"] != customer:
            yield Change(customer, now, then)
            now, then = {}, {}
        customer = row["customer"]
        if row["now"]:
            now[row["hook"]] = row["now"]
        if row["then"]:
            then[row["hook"]] = row["then"]
    if customer is not None:
        yield Change(customer, now, then)
