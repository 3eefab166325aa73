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
from libs.common.http.auth.tickets import ticket_table

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

#: A customer's state as one JSON value, and beside it what is listed. `version` counts the writes. `seen` follows
#: `last_seen` by the hour: an index of `last_seen` itself would be written at every event.
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
    Column("seen", DateTime(timezone=True)),
    postgresql_with={"fillfactor": 70},
)
for _by in ("first_seen", "seen"):
    Index(f"customers_by_{_by}", customers.c[_by], customers.c.id, postgresql_where=customers.c.merged_into.is_(None))

#: What customers are found by (`domain/terms.py`).
terms = Table(
    "terms",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("term", Text(collation="C"), nullable=False),
    PrimaryKeyConstraint("customer", "term"),
)
Index("terms_by_term", terms.c.term, terms.c.customer)

#: Orders and net revenue (in minor units, by currency) of those who have ordered, to list them in that order.
ranks = Table(
    "ranks",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("by", Text, nullable=False),
    Column("value", BigInteger, nullable=False),
    PrimaryKeyConstraint("customer", "by"),
)
Index("ranks_by_value", ranks.c.by, ranks.c.value, ranks.c.customer)

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
Index("counters_by_counter", counters.c.counter, counters.c.day)

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

#: Every merge: who was merged into whom (under the ids that they had then), when, and what asked for it. Rows are only added.
merges = Table(
    "merges",
    metadata,
    Column("customer", Uuid, nullable=False),  # the survivor
    Column("at", DateTime(timezone=True), nullable=False),
    Column("id", Uuid, nullable=False),  # of the fact `customer.merged`
    Column("other", Uuid, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("record", Uuid, nullable=False),  # the event or command that asked for it
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("by", Text),  # the subject of the token; none of an event
    Column("reason", Text),
    Column("identifiers", Text, nullable=False),  # those that came along, as JSON
    PrimaryKeyConstraint("customer", "at", "id"),
)
Index("merges_by_time", merges.c.at, merges.c.id)
Index("merges_by_id", merges.c.id)

#: What people wrote on customers, under the id that they had then.
notes = Table(
    "notes",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("by", Text, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("customer", "id"),
)

#: What people are to do for customers, under the id that these had then.
tasks = Table(
    "tasks",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    Column("title", Text, nullable=False),
    Column("due", DateTime(timezone=True), nullable=False),
    Column("owner", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
    Column("done_by", Text),
    Column("told_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("customer", "id"),
)
Index("tasks_by_id", tasks.c.id)
Index("tasks_open", tasks.c.due, tasks.c.id, postgresql_where=tasks.c.done_at.is_(None))
Index("tasks_untold", tasks.c.due, postgresql_where=tasks.c.done_at.is_(None) & tasks.c.told_at.is_(None))

timers = timer_table(metadata)
tickets = ticket_table(metadata)


def _document_tables(noun: str) -> tuple[Table, Table]:
    """What marketers write in versions. `name` is how rules speak of it, and never changes. Of a version, only its first
    publication changes; `content` is JSON."""
    documents = Table(
        f"{noun}s",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("name", Text, nullable=False, unique=True),
        Column("status", Text, nullable=False),  # draft, live or archived
        Column("version", Integer, nullable=False),
        Column("live_version", Integer),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    )
    versions = Table(
        f"{noun}_versions",
        metadata,
        Column("document", Uuid, nullable=False),
        Column("version", Integer, nullable=False),
        Column("content", Text, nullable=False),
        Column("edited_by", Text, nullable=False),
        Column("edited_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("published_by", Text),
        Column("published_at", DateTime(timezone=True)),
        PrimaryKeyConstraint("document", "version"),
    )
    return documents, versions


segments, segment_versions = _document_tables("segment")
computed_traits, computed_trait_versions = _document_tables("computed_trait")

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
PERSONAL = (
    *(SECTIONS.name, members.name, timers.name, consents.name, merges.name),
    *(notes.name, tasks.name, terms.name, ranks.name),
)
