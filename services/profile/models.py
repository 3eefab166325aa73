"""Profile's tables, in the schema `profile`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

from libs.common.fold.tables import fold_tables, section_table

metadata = MetaData(schema="profile")

FOLD = fold_tables(metadata)
SECTIONS = section_table(metadata)
Index(
    "sections_waiting",
    SECTIONS.c.rank,
    SECTIONS.c.customer,
    SECTIONS.c.key,
    postgresql_where=SECTIONS.c.rank.is_not(None),
)
Index("sections_by_key", SECTIONS.c.key)

#: A customer's state as one JSON value, and beside it what is listed. `version` counts the writes.
customers = Table(
    "customers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("state", LargeBinary, nullable=False, server_default=""),
    Column("version", BigInteger, nullable=False, server_default="0"),
    Column("merged_into", Uuid),  # set once the customer has left, by a merge
    Column("user_id", Text),
    Column("orders", BigInteger, nullable=False, server_default="0"),
    Column("first_seen", DateTime(timezone=True)),
    Column("last_seen", DateTime(timezone=True)),
    postgresql_with={"fillfactor": 70},
)

#: Whom an identifier leads to: always a customer who is still there. Changed only by who holds that customer's lock.
identifiers = Table(
    "identifiers",
    metadata,
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("customer", Uuid, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("kind", "value"),
)
Index("identifiers_by_value", identifiers.c.value, postgresql_ops={"value": "text_pattern_ops"})

#: Which records each partition of the events has brought, by the week (its Monday) in which they were received. One
#: table a week, made when it is needed and dropped after five.
dedup_keys = Table(
    "dedup_keys",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("week", Date, nullable=False),
    PrimaryKeyConstraint("partition", "id", "week"),
    postgresql_partition_by="LIST (week)",
)

#: Exact counts by the day (of the workspace's zone) on which it happened; one row for each partition, so that partitions
#: do not wait for each other; summed when read.
counters = Table(
    "counters",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("day", Date, nullable=False),
    Column("counter", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("partition", "day", "counter", "source"),
    postgresql_with={"fillfactor": 50},
)

#: What customers said of consent, with proof, under the id that they had then. Rows are only added.
consents = Table(
    "consents",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("record", Uuid, nullable=False),  # the event or command that said it
    Column("channel", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("carried", Boolean, nullable=False),  # an event brought it along
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("source", Text, nullable=False),
    Column("text_version", Text),
    Column("by", Text),  # the subject of the token
    PrimaryKeyConstraint("customer", "purpose", "at", "record", "channel"),
)
