"""Ingest's tables: sources, write keys, what was rejected or warned of, the tracking plan, the live view, webhooks, usage."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from libs.common.http.auth.tickets import ticket_table

metadata = MetaData(schema="ingest")

#: An application that sends events. `allowed_origins` limits browsers; null means any origin. `private_fields` are JSON.
sources = Table(
    "sources",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("default_currency", Text, nullable=False),
    Column("allowed_origins", ARRAY(Text)),
    Column("private_fields", Text),
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
    Column("events_per_second", Integer),
    Column("events_per_day", BigInteger),
)

#: A webhook that another system posts to a source. `mapping` says as JSON what its payloads become.
inbound_hooks = Table(
    "inbound_hooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source_id", Uuid, ForeignKey(sources.c.id), nullable=False),
    Column("name", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("secret_header", Text),
    Column("secret", Text, nullable=False),
    Column("mapping", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("source_id", "name"),
)

#: Earlier secrets of an inbound webhook. What is signed with them is taken, too, until `valid_until`.
old_inbound_secrets = Table(
    "old_inbound_secrets",
    metadata,
    Column("hook_id", Uuid, ForeignKey(inbound_hooks.c.id, ondelete="CASCADE"), nullable=False),
    Column("secret", Text, nullable=False),
    Column("valid_until", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("hook_id", "secret"),
)

#: The events of a day (in the workspace's zone) that came by a write key or an inbound webhook (`through`). `warned` are
#: those of the stored that have a warning.
usage = Table(
    "usage",
    metadata,
    Column("source_id", Uuid, ForeignKey(sources.c.id), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("through", Uuid, primary_key=True),
    Column("stored", BigInteger, nullable=False),
    Column("warned", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
)
Index("usage_by_day", usage.c.day)

#: Rejected events, kept for seven days. `size` is that of the body before it was cut. `result` is that of the replay, as
#: JSON: what was stored in the end.
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
    Column("event", Text),
    Column("imported", Boolean, nullable=False),
    Column("replayed_at", DateTime(timezone=True)),
    Column("result", Text),
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

#: Warnings by source, day and wording, kept for seven days. The rest is of the last event that was warned of.
warnings = Table(
    "warnings",
    metadata,
    Column("source_id", Uuid, ForeignKey(sources.c.id), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("warning", Text, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("events", BigInteger, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    Column("example", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("message_id", Text, nullable=False),
)

#: The workspace's tracking plan (`source_id` is null) and those of sources, in versions.
tracking_plans = Table(
    "tracking_plans",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source_id", Uuid, ForeignKey(sources.c.id)),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("live_version", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("source_id", postgresql_nulls_not_distinct=True),
)

#: `content` is the plan as JSON; it never changes.
tracking_plan_versions = Table(
    "tracking_plan_versions",
    metadata,
    Column("plan", Uuid, ForeignKey(tracking_plans.c.id), nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("published_by", Text),
    Column("published_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("plan", "version"),
)

#: Violations of the tracking plan by source, day, event and rule, kept for seven days. The rest is of the last event.
violations = Table(
    "violations",
    metadata,
    Column("source_id", Uuid, ForeignKey(sources.c.id), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("event", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("events", BigInteger, nullable=False),
    Column("last_at", DateTime(timezone=True), nullable=False),
    Column("mode", Text, nullable=False),
    Column("example", Text, nullable=False),
    Column("message_id", Text, nullable=False),
)

#: The sources that somebody watches, until when.
watches = Table(
    "watches",
    metadata,
    Column("source_id", Uuid, ForeignKey(sources.c.id), primary_key=True),
    Column("until", DateTime(timezone=True), nullable=False),
)

#: What watched sources have sent in the last minutes. Not logged: lost when PostgreSQL crashes, and in no backup.
live_events = Table(
    "live_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("source_id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", LargeBinary, nullable=False),
    prefixes=["UNLOGGED"],
)
Index("live_events_by_source", live_events.c.source_id, live_events.c.id)
Index("live_events_by_time", live_events.c.at)

#: The workspace's own ids that identify nobody, in lower case.
blocked_ids = Table("blocked_ids", metadata, Column("value", Text, primary_key=True))

tickets = ticket_table(metadata)

#: The erasures of customers that ingest works on or has answered, and how many records and rejected events it has erased.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("log", BigInteger, nullable=False, server_default="0"),
    Column("rejected", BigInteger, nullable=False, server_default="0"),
    Column("answered_at", DateTime(timezone=True)),
)
