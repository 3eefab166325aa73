"""Ingest's tables: sources, their write keys, and the events that were rejected."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

metadata = MetaData(schema="ingest")

#: An application that sends events. `allowed_origins` limits browsers; null means any origin.
sources = Table(
    "sources",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("default_currency", Text, nullable=False),
    Column("allowed_origins", ARRAY(Text)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

#: Only the SHA-256 of a key is kept, and its first characters, by which people tell keys apart.
write_keys = Table(
    "write_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source_id", Uuid, ForeignKey(sources.c.id), nullable=False, index=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
)

#: Rejected events, kept for seven days. `body` is cut to 4 KB, `size` is what it was in bytes.
rejected = Table(
    "rejected",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source_id", Uuid, ForeignKey(sources.c.id), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("reason", Text, nullable=False),
    Column("type", Text),
    Column("message_id", Text),
    Column("size", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
Index("rejected_by_source", rejected.c.source_id, rejected.c.id)
Index("rejected_by_time", rejected.c.received_at)

#: How many more were refused in an hour than were kept in `rejected`.
rejected_counts = Table(
    "rejected_counts",
    metadata,
    Column("source_id", Uuid, ForeignKey(sources.c.id), primary_key=True),
    Column("hour", DateTime(timezone=True), primary_key=True),
    Column("events", BigInteger, nullable=False),
)

#: The erasures of customers that ingest works on or has answered, and how many records and rejected events it has erased.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("log", BigInteger, nullable=False, server_default="0"),
    Column("rejected", BigInteger, nullable=False, server_default="0"),
    Column("answered_at", DateTime(timezone=True)),
)
