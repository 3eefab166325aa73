"""What triggers writes beside the customers' states: messages, last events, and which messages were seen. Writes in the
caller's transaction, in a few statements for any number of inputs."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from libs.common.contracts.input import Input
from libs.common.contracts.triggers import MessageQueued, MessageSent, MessageWithheld
from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.fold.decider import Applied, Merged
from libs.common.rules.rule_event import RuleEvent
from services.triggers.domain.decide import message_id
from services.triggers.domain.event_catalogue import LONGEST
from services.triggers.domain.inputs import MarkSeen
from services.triggers.domain.state import Recipient
from services.triggers.models import deliveries

_MESSAGE = ("customer", "id", "hook", "version", "channel", "endpoint", "state", "reason", "detail", "title", "text",
            "event", "cause", "depth", "traceparent", "occurred_at", "not_before", "quiet_hours")  # fmt: skip
_LAST = ("customer", "name", "record", "type", "source", "depth", "occurred_at", "received_at", "folded_at", "imported",
         "data")  # fmt: skip
_MOVED = ", ".join(column.name for column in deliveries.c if column.name != "customer")

# A merged customer's rows become the survivor's: deleted and inserted, as an update of the first column of the key is
# not possible where tables are distributed by it.
_MOVE_MESSAGES = f"""
WITH moved AS (DELETE FROM triggers.deliveries WHERE customer = $1 RETURNING *)
INSERT INTO triggers.deliveries (customer, {_MOVED}) SELECT $2, {_MOVED} FROM moved ON CONFLICT DO NOTHING
"""
_REPLACE = """ON CONFLICT (customer, name) DO UPDATE SET record = excluded.record, type = excluded.type,
 source = excluded.source, depth = excluded.depth, occurred_at = excluded.occurred_at,
 received_at = excluded.received_at, folded_at = excluded.folded_at, imported = excluded.imported, data = excluded.data
 WHERE (last_events.received_at, last_events.record) <= (excluded.received_at, excluded.record)"""
# The clock is read inside the transaction, after the fence. Publishing waits for that transaction, so comparing this time
# with the time of publication gives the version under which a record was folded.
_KEEP_LAST = f"""
INSERT INTO triggers.last_events ({", ".join(_LAST)})
SELECT customer, name, record, type, source, depth, occurred_at, received_at, clock_timestamp(), imported, data
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::timestamptz[],
  $8::timestamptz[], $9::boolean[], $10::bytea[])
  AS n(customer, name, record, type, source, depth, occurred_at, received_at, imported, data)
{_REPLACE}
"""
_MOVE_EVENTS = f"""
WITH moved AS (DELETE FROM triggers.last_events WHERE customer = $1 RETURNING *)
INSERT INTO triggers.last_events ({", ".join(_LAST)})
SELECT $2, {", ".join(_LAST[1:])} FROM moved {_REPLACE}
"""
#: The time at which row `n`, the `place`th of a statement, comes into an inbox. The customer is locked, and the time is later
#: than that of every message in the inbox, even if the clock of this process is behind another's.
INBOX_TIME = """
greatest({now}, (
  SELECT max(s.settled_at) + interval '1 microsecond' FROM triggers.deliveries AS s
  WHERE s.customer = n.customer AND s.state = 'sent' AND s.channel = 'inbox'
)) + n.place * interval '1 microsecond'"""
# A message decided in quiet hours is due when they end.
_DECIDED = f"""
INSERT INTO triggers.deliveries ({", ".join(_MESSAGE)}, settled_at, attempts, next_at)
SELECT {", ".join(f"n.{name}" for name in _MESSAGE)},
  CASE WHEN n.state = 'sent' THEN {INBOX_TIME.format(now="statement_timestamp()")} ELSE n.settled_at END,
  (n.state = 'sent')::int, greatest(now(), n.not_before)
FROM {bulk.unnest(deliveries, (*_MESSAGE, "settled_at"))}
  WITH ORDINALITY AS n({", ".join(_MESSAGE)}, settled_at, place)
WHERE NOT EXISTS (SELECT FROM triggers.message_tombstones AS t WHERE t.id = n.id) ON CONFLICT DO NOTHING
"""
_SEE = """
UPDATE triggers.deliveries AS d SET seen_at = n.seen_at
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS n(customer, id, seen_at)
WHERE d.customer = n.customer AND d.id = n.id AND d.seen_at IS NULL
"""


async def project(tx: Tx, applied: Sequence[Applied[Recipient]]) -> None:
    """Write the rows that routes query, for all inputs of a batch in their order. Does not commit."""
    await _decisions(tx, applied)
    await _last_events(tx, applied)
    seen = [(each.customer, UUID(each.input.body.message), each.input.time)
            for each in applied if isinstance(each.input.body, MarkSeen)]  # fmt: skip
    if seen:
        await tx.execute(_SEE, *bulk.transposed(seen))
    for each in applied:
        if isinstance(each.input.body, Merged):
            await tx.execute(_MOVE_MESSAGES, each.input.body.other, each.customer)
            await tx.execute(_MOVE_EVENTS, each.input.body.other, each.customer)


async def _decisions(tx: Tx, applied: Sequence[Applied[Recipient]]) -> None:
    """Insert a row for each message sent, queued or withheld. A row that exists stays as it is, and a message with a tombstone
    gets none, so nothing is sent twice."""
    rows: list[tuple[object, ...]] = []
    for each in applied:
        event, input = each.input.body, each.input
        if not isinstance(event, RuleEvent):
            continue
        for stamped in each.facts:
            fact = stamped.fact
            if not isinstance(fact, MessageSent | MessageQueued | MessageWithheld):
                continue
            made = each.decision.made[fact.hook]
            rows.append((each.customer, UUID(message_id(input.id, fact.hook)), UUID(fact.hook), fact.version,
                         made.channel, made.endpoint, *_state(fact), made.detail,
                         made.title, made.text, event.name, input.id, input.depth + 1, input.traceparent, input.time,
                         made.not_before, None if made.quiet is None else msgspec.json.encode(made.quiet).decode(),
                         input.received if isinstance(fact, MessageWithheld) else None))  # fmt: skip
    if rows:
        await tx.execute(_DECIDED, *bulk.transposed(rows))


def _state(fact: MessageSent | MessageQueued | MessageWithheld) -> tuple[str, str | None]:
    if isinstance(fact, MessageWithheld):
        return "withheld", fact.reason
    return ("sent" if isinstance(fact, MessageSent) else "queued"), None


async def _last_events(tx: Tx, applied: Sequence[Applied[Recipient]]) -> None:
    """Store the last received record of each name. The result does not depend on how batches are cut, or on merges."""
    last: dict[tuple[UUID, str], Input] = {}
    for each in applied:
        event, input = each.input.body, each.input
        if isinstance(event, RuleEvent):
            key = each.customer, event.name[:LONGEST]
            if (known := last.get(key)) is None or (known.received, known.id) <= (input.received, input.id):
                last[key] = input
    rows = [
        (
            *key,
            input.id,
            input.type,
            input.source,
            input.depth,
            input.time,
            input.received,
            input.imported,
            bytes(input.body.data),
        )
        for key, input in sorted(last.items(), key=lambda item: item[0])
    ]
    if rows:
        await tx.execute(_KEEP_LAST, *bulk.transposed(rows))
