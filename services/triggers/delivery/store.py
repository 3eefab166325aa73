"""Message rows: workers lease them, and record each outcome with its fact in one transaction."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from libs.common.contracts.ids import derived
from libs.common.contracts.input import Input
from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.triggers import MessageQueued
from libs.common.db import bulk
from libs.common.db.pool import Tx
from libs.common.errors import NotFound
from libs.common.fold.customers import NOBODY
from libs.common.fold.customers import Row as Account
from libs.common.fold.decider import Applied
from libs.common.fold.loop import Fold
from libs.common.log.append import append
from libs.common.log.partition import partition_of
from libs.common.log.reader import TopicPartition
from services.triggers.decider import TriggersHandler
from services.triggers.domain.inputs import Settled
from services.triggers.domain.state import Recipient
from services.triggers.models import deliveries
from services.triggers.store import INBOX_TIME

Row = Mapping[str, Any]


class Verdict(NamedTuple):
    """The outcome of a message: a reason (for machines) if it was withheld, and a detail for people."""

    state: Literal["sent", "failed", "withheld"]
    reason: str | None = None
    detail: str | None = None


SENT = Verdict("sent")

# The endpoints with queued messages. Each takes one step along the index, however many messages it has.
_ENDPOINTS = """
WITH RECURSIVE each(endpoint) AS (
  (SELECT endpoint FROM triggers.deliveries WHERE state = 'queued' ORDER BY endpoint LIMIT 1)
  UNION ALL
  SELECT (SELECT d.endpoint FROM triggers.deliveries d
          WHERE d.state = 'queued' AND d.endpoint > each.endpoint ORDER BY d.endpoint LIMIT 1)
  FROM each WHERE each.endpoint IS NOT NULL
) SELECT endpoint FROM each WHERE endpoint <> 'inbox'
"""
_LEASE = """
UPDATE triggers.deliveries AS d
SET lease = $1, next_at = clock_timestamp() + $2::interval, attempts = d.attempts + 1
FROM (
  SELECT q.customer, q.id FROM triggers.deliveries AS q WHERE q.state = 'queued' AND {which}
  LIMIT $3 FOR UPDATE SKIP LOCKED
) AS due JOIN triggers.deliveries AS r USING (customer, id) JOIN triggers.hooks AS h ON h.id = r.hook
WHERE d.customer = due.customer AND d.id = due.id
RETURNING d.*, h.secret, h.status, ARRAY(
  SELECT o.secret FROM triggers.old_secrets AS o WHERE o.hook = d.hook AND o.valid_until > clock_timestamp()
  ORDER BY o.valid_until DESC
) AS old_secrets
"""
_DUE = _LEASE.format(which="q.endpoint = $4 AND q.next_at <= clock_timestamp() ORDER BY q.next_at")
_PAUSED = _LEASE.format(which="q.lease IS NULL AND q.hook IN (SELECT id FROM triggers.hooks WHERE status = 'paused')")
_OURS = """
SELECT * FROM triggers.deliveries
WHERE customer = ANY($1::uuid[]) AND id = ANY($2::uuid[]) AND state = 'queued' AND lease = $3
ORDER BY customer, id FOR UPDATE
"""
_SETTLE = f"""
UPDATE triggers.deliveries AS d SET state = n.state, reason = n.reason, detail = n.detail, lease = NULL,
  settled_at = CASE WHEN n.state = 'sent' AND d.channel = 'inbox' THEN {INBOX_TIME.format(now="$6")} ELSE $6 END
FROM {bulk.unnest(deliveries, ("customer", "id", "state", "reason", "detail"))}
  WITH ORDINALITY AS n(customer, id, state, reason, detail, place)
WHERE d.customer = n.customer AND d.id = n.id
"""
_AGAIN = """
UPDATE triggers.deliveries SET next_at = clock_timestamp() + $4::interval, lease = NULL, detail = $5
WHERE customer = ANY($1::uuid[]) AND id = $2 AND lease = $3 AND state = 'queued'
"""
_POSTPONE = """
UPDATE triggers.deliveries AS d
SET next_at = n.until, not_before = n.until, lease = NULL, attempts = d.attempts - 1
FROM unnest($1::uuid[], $2::timestamptz[]) AS n(id, until)
WHERE d.customer = ANY($3::uuid[]) AND d.id = n.id AND d.lease = $4 AND d.state = 'queued'
"""


async def endpoints(tx: Tx) -> list[str]:
    """The endpoints of queued webhooks."""
    return [row["endpoint"] for row in await tx.fetch(_ENDPOINTS)]


async def lease(tx: Tx, owner: UUID, endpoint: str, limit: int, length: timedelta) -> list[Row]:
    """Lease up to `limit` due messages for `length`, the longest waiting first."""
    rows: list[Row] = await tx.fetch(_DUE, owner, length, limit, endpoint)
    return rows


async def lease_paused(tx: Tx, owner: UUID, limit: int, length: timedelta) -> list[Row]:
    """Lease queued messages of paused hooks that no worker is sending."""
    rows: list[Row] = await tx.fetch(_PAUSED, owner, length, limit)
    return rows


async def again(tx: Tx, handler: TriggersHandler, owner: UUID, row: Row, pause: timedelta, error: str) -> None:
    """Give a message back, due again after `pause`."""
    with suppress(NotFound):  # of an erased customer there is nothing to try again
        customers = [row["customer"], await handler.customers.survivor(tx, row["customer"])]
        await tx.execute(_AGAIN, customers, row["id"], owner, pause, error)


async def postpone(tx: Tx, handler: TriggersHandler, owner: UUID, until: Sequence[tuple[Row, datetime]]) -> None:
    """Give messages back until their quiet hours end. This does not count as an attempt."""
    customers = {row["customer"] for row, _ in until}
    for customer in tuple(customers):
        with suppress(NotFound):  # erased
            customers.add(await handler.customers.survivor(tx, customer))
    ids, ends = [row["id"] for row, _ in until], [end for _, end in until]
    await tx.execute(_POSTPONE, ids, ends, list(customers), owner)


async def settle(
    tx: Tx,
    fold: Fold,
    handler: TriggersHandler,
    owner: UUID,
    leased: Sequence[Row],
    judge: Callable[[Row, Iterable[Recipient]], Verdict],
) -> int:
    """Record the outcomes of leased messages, rows and facts, in the transaction given. Returns their number.

    `judge` gets each row and the locked states of its customer (two during a merge). Rows whose lease was lost stay as they
    are, and an erased customer has none. Customers are locked before their rows, as in the fold.
    """
    accounts = await handler.customers.load(tx, {row["customer"] for row in leased})
    while further := {row.merged_into for row in accounts.values() if row.merged_into} - {NOBODY, *accounts}:
        accounts |= await handler.customers.load(tx, further)
    rows = await tx.fetch(_OURS, list(accounts), [row["id"] for row in leased], owner)
    if not rows:
        return 0
    status = {row["id"]: row for row in leased}
    now = datetime.now(UTC)
    stampings = await _stampings(tx, fold, {_survivor(accounts, row["customer"]).id for row in rows})
    rules = await handler.decider.rules(tx, next(iter(stampings.values())).rulebook)
    settled: list[tuple[object, ...]] = []
    applied: list[Applied[Recipient]] = []
    for row in sorted(rows, key=lambda row: (row["occurred_at"], row["id"])):
        account = _survivor(accounts, row["customer"])
        verdict = judge(
            status[row["id"]], {id(each): each.state for each in (accounts[row["customer"]], account)}.values()
        )
        settled.append((row["customer"], row["id"], *verdict))
        stamping = stampings[account.id]
        applied.append(
            handler.apply_input(account, _input(row, verdict, now), rules, f"{stamping.at}/{stamping.rulebook}")
        )
    await handler.customers.save(tx, accounts.values())
    await tx.execute(_SETTLE, *bulk.transposed(settled), now)
    await append(tx, fold.writes, [record for each in applied for record in handler.outgoing(each)], fold.partitions)
    return len(rows)


class _Stamping(NamedTuple):
    at: str
    rulebook: int


async def _stampings(tx: Tx, fold: Fold, customers: Iterable[UUID]) -> dict[UUID, _Stamping]:
    """The stamps of facts on locked customers: where their partitions stand in the journal."""
    partitions = {customer: partition_of(str(customer), fold.partitions) for customer in customers}
    stored = {
        partition: await fold.positions.load(tx, TopicPartition(JOURNAL, partition))
        for partition in set(partitions.values())
    }
    return {
        customer: _Stamping(f"{partition}/{stored[partition].position.next}", stored[partition].rulebook)
        for customer, partition in partitions.items()
    }


def _survivor(accounts: Mapping[UUID, Account[Recipient]], customer: UUID) -> Account[Recipient]:
    account = accounts[customer]
    while account.merged_into is not None:
        account = accounts[account.merged_into]
    return account


def queued(row: Row) -> UUID:
    """The id of the fact that queued a message."""
    return derived(row["cause"], MessageQueued.TYPE, str(row["hook"]))


def _input(row: Row, verdict: Verdict, now: datetime) -> Input:
    """An outcome as an input. It follows from the fact that queued the message and has its depth, so that chains of hooks end."""
    body = Settled(
        str(row["id"]),
        str(row["hook"]),
        row["version"],
        row["channel"],
        verdict.state,
        verdict.reason or verdict.detail or "",
    )
    return Input(str(queued(row)), "Settled", "/triggers", now, now, row["depth"], False, row["traceparent"], body)
