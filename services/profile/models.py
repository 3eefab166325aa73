"""Profile's tables, in the schema `profile`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
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
from sqlalchemy.dialects.postgresql import ARRAY

from libs.common.fold.tables import fold_tables, section_table
from libs.common.fold.timer_table import timer_table

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
    Column("merged_into", Uuid),  # set once the customer has left, by a merge; nobody (zero), once they were erased
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

timers = timer_table(metadata)

#: A segment. `name` is how conditions speak of it, and never changes.
segments = Table(
    "segments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),  # draft, live or archived
    Column("version", Integer, nullable=False),
    Column("live_version", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

#: One row a version. Only its first publication changes it. `content` is the segment as JSON.
segment_versions = Table(
    "segment_versions",
    metadata,
    Column("segment", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("content", Text, nullable=False),
    Column("edited_by", Text, nullable=False),
    Column("edited_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("published_by", Text),
    Column("published_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("segment", "version"),
)

#: Who is in which live segment (by name), and since when. The customers' states say the same.
members = Table(
    "members",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("segment", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("customer", "segment"),
)
Index("members_by_segment", members.c.segment, members.c.customer)

#: One row: how far the customers have been evaluated under the newest rulebook. `behind` is the last customer's id.
segment_fill = Table(
    "segment_fill",
    metadata,
    Column("only", Boolean, primary_key=True, server_default=text("true")),
    Column("rulebook", Integer, nullable=False),
    Column("behind", Uuid),
    Column("done", BigInteger, nullable=False, server_default="0"),
    Column("total", BigInteger, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
)

#: Erasures. `also` are the ids of those who were merged into the customer, `erased` how many rows of what profile deleted, as
#: JSON, `key` and `digest` keyed hashes of the idempotency key and of the request.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("customer", Uuid, nullable=False),
    Column("also", ARRAY(Uuid), nullable=False),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("asked_by", Text, nullable=False),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False),
    Column("erased", LargeBinary, nullable=False),
    Column("done_at", DateTime(timezone=True)),
    Column("certificate", Text),
)

#: What each service answered to an erasure: how many rows of what, as JSON.
erasure_answers = Table(
    "erasure_answers",
    metadata,
    Column("erasure", Uuid, nullable=False),
    Column("service", Text, nullable=False),
    Column("erased", LargeBinary, nullable=False),
    Column("answered_at", DateTime(timezone=True), nullable=False),
    Column("kafka_until", DateTime(timezone=True)),
    PrimaryKeyConstraint("erasure", "service"),
)

#: Keyed hashes of the identifiers of erased customers, and the versions of their last bindings.
tombstones = Table(
    "tombstones",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("erased_at", DateTime(timezone=True), nullable=False),
    Column("erasure", Uuid, nullable=False),
)
Index("tombstones_by_time", tombstones.c.erased_at)

#: The tables with rows of a customer, beside the fold's: an export shows them, an erasure deletes them.
PERSONAL = (SECTIONS.name, members.name, timers.name)
