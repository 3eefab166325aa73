"""Triggers' tables: the fold's, the customers', hooks and their versions, messages, and the event catalogue."""

from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from libs.common.fold.tables import customer_tables, fold_tables
from libs.common.http.auth.tickets import ticket_table

metadata = MetaData(schema="triggers")

FOLD = fold_tables(metadata)
CUSTOMERS = customer_tables(metadata)
tickets = ticket_table(metadata)

#: One row: the limits of all hooks. Publishing locks it first, so that each rulebook has all live hooks.
workspace = Table(
    "workspace",
    metadata,
    Column("only", Boolean, primary_key=True, server_default=text("true")),
    Column("daily_cap", Integer),
    Column("quiet_hours", Text),  # as JSON
)

#: A hook. `live_version` stays when it is paused. `secret` signs its webhooks.
hooks = Table(
    "hooks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),  # draft, live or paused
    Column("version", Integer, nullable=False),
    Column("live_version", Integer),
    Column("in_force_at", DateTime(timezone=True)),  # since when the live version has been in force without a break
    Column("secret", Text),
    Column("paused_reason", Text),
    Column("paused_at", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

#: Earlier secrets of a hook. They sign its webhooks, too, until `valid_until`.
old_secrets = Table(
    "old_secrets",
    metadata,
    Column("hook", Uuid, nullable=False),
    Column("secret", Text, nullable=False),
    Column("valid_until", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("hook", "secret"),
)

#: One row a version. Only its first publication changes it. `content` is the hook as JSON.
hook_versions = Table(
    "hook_versions",
    metadata,
    Column("hook", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_by", Text),
    Column("published_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("hook", "version"),
)

#: Every message, sent or withheld, and its outcome. `endpoint` is `inbox`, or scheme, host and port of a webhook. `next_at` is
#: when a queued one is due, or when the `lease` of a worker ends. `not_before` is the end of the quiet hours that delayed it;
#: `quiet_hours` are those that apply to it (as JSON, with their zone). Outside the folded state.
deliveries = Table(
    "deliveries",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("hook", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("channel", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("state", Text, nullable=False),  # queued, sent, failed or withheld
    Column("reason", Text),
    Column("detail", Text),
    Column("title", Text),
    Column("text", Text),
    Column("event", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("depth", SmallInteger, nullable=False),
    Column("traceparent", Text),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("next_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("lease", Uuid),
    Column("settled_at", DateTime(timezone=True)),
    Column("seen_at", DateTime(timezone=True)),
    Column("not_before", DateTime(timezone=True)),
    Column("quiet_hours", Text),
    PrimaryKeyConstraint("customer", "id"),
)
_queued = text("state = 'queued'")
Index("deliveries_ended", deliveries.c.settled_at, postgresql_where=text("state <> 'queued'"))
Index("deliveries_due", deliveries.c.endpoint, deliveries.c.next_at, postgresql_where=_queued)
Index("deliveries_queued_by_hook", deliveries.c.hook, postgresql_where=_queued)
Index("deliveries_by_hook", deliveries.c.customer, deliveries.c.hook, deliveries.c.decided_at)
Index(
    "deliveries_inbox",
    deliveries.c.customer,
    deliveries.c.settled_at,
    deliveries.c.id,
    postgresql_where=text("state = 'sent' AND channel = 'inbox'"),
)

#: The ids of messages whose rows were deleted: they are not decided anew.
message_tombstones = Table("message_tombstones", metadata, Column("id", Uuid, primary_key=True))

#: A customer's last record of each name, for `why` and `test`. `data` is as in the journal.
last_events = Table(
    "last_events",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("depth", SmallInteger, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("folded_at", DateTime(timezone=True), nullable=False),
    Column("imported", Boolean, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("customer", "name"),
    postgresql_with={"fillfactor": 80},
)

#: Event names (path '') and properties, and the day on which they were last seen. A row a partition.
event_catalogue = Table(
    "event_catalogue",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("partition", "name", "path"),
)
