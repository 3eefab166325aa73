"""Single-use tickets: a browser's EventSource sends no header, so it gets its way in as part of the address, for a minute.

Only the hash of a ticket is stored, and it is consumed in one statement: whichever process is asked, one of two who come
with the same ticket gets in.
"""

import hashlib
import secrets
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Column, DateTime, Index, LargeBinary, MetaData, Table, Text

from libs.common.db.pool import Tx
from libs.common.errors import TooMany, Unauthenticated
from libs.common.http.auth.tokens import Principal

SECONDS = 60
MOST = 32
"""Tickets of one subject that nobody has used yet."""
PREFIX = "rt_"


def ticket_table(metadata: MetaData) -> Table:
    """The table of a service that has streams. `ends_at` is until when the token was valid that the ticket stands for."""
    table = Table(
        "tickets",
        metadata,
        Column("hash", LargeBinary, primary_key=True),
        Column("stream", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("customer", Text),
        Column("expires_at", DateTime(timezone=True), nullable=False),
        Column("ends_at", DateTime(timezone=True)),
    )
    Index("tickets_by_expiry", table.c.expires_at)
    Index("tickets_by_subject", table.c.subject)
    return table


class Issued(NamedTuple):
    """A ticket, to be shown this once, and when it ends unused."""

    ticket: str
    expires_at: datetime


async def issue(tx: Tx, schema: str, stream: str, who: Principal, customer: str | None) -> Issued:
    """A ticket for `stream`, as `who`, limited to one `customer` (by id) if one is given. Raises TooMany."""
    await tx.execute(
        f"DELETE FROM {schema}.tickets WHERE hash IN (SELECT hash FROM {schema}.tickets"
        " WHERE expires_at <= now() ORDER BY expires_at LIMIT 200 FOR UPDATE SKIP LOCKED)"
    )
    waiting = await tx.fetchval(
        f"SELECT count(*) FROM {schema}.tickets WHERE subject = $1 AND expires_at > now()", who.subject
    )
    if waiting >= MOST:
        raise TooMany(f"{MOST} tickets wait to be used already: use one, each is good for {SECONDS} seconds.", 10)
    ticket = PREFIX + secrets.token_urlsafe(32)
    expires_at: datetime = await tx.fetchval(
        f"INSERT INTO {schema}.tickets (hash, stream, subject, customer, expires_at, ends_at)"
        " VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5), $6) RETURNING expires_at",
        _hash(ticket),
        stream,
        who.subject,
        customer,
        SECONDS,
        who.expires,
    )
    return Issued(ticket, expires_at)


async def redeem(tx: Tx, schema: str, stream: str, ticket: str) -> Principal:
    """Whom a ticket for `stream` was made for; it is used up. Raises Unauthenticated."""
    row = await tx.fetchrow(
        f"DELETE FROM {schema}.tickets WHERE hash = $1 AND stream = $2 AND expires_at > now()"
        " RETURNING subject, customer, ends_at",
        _hash(ticket),
        stream,
    )
    if row is None:
        raise Unauthenticated(
            f"This ticket is unknown, used or older than {SECONDS} seconds: POST …/tickets gives another one."
        )
    return Principal(row["subject"], frozenset(), row["customer"], row["ends_at"])


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
