"""The log's tables, in the schema `log`. No service owns it; it is the transport.

`heads` holds the next offset of each partition. A topic's table holds its records, in segments of offsets (see
`segments`). `readers` holds how far readers are, so that retention keeps what they need. Positions are in each
service's own schema (`libs.common.fold.tables`).
"""

from sqlalchemy import (
    BigInteger,
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
from sqlalchemy.dialects.postgresql import ARRAY

from libs.common.contracts.profile import JOURNAL
from libs.common.contracts.registry import TOPIC_NAMES

SCHEMA = "log"
metadata = MetaData(schema=SCHEMA)

#: One row: the number of partitions of every topic. It is stored when the database is created and cannot change.
installation = Table(
    "installation",
    metadata,
    Column("only", Integer, primary_key=True, server_default="1"),
    Column("partitions", SmallInteger, nullable=False),
)

heads = Table(
    "heads",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", SmallInteger, primary_key=True),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("next", BigInteger, nullable=False, server_default="0"),
    Column("watermark", DateTime(timezone=True)),  # journal only: all events received before it are in
    Column("closed", Boolean, nullable=False, server_default=text("false")),  # moved to Kafka; no more appends
    postgresql_with={"fillfactor": 10},
)

readers = Table(
    "readers",
    metadata,
    Column("reader", Text, nullable=False),  # profile/fold
    Column("topic", Text, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("next", BigInteger, nullable=False),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expired_at", DateTime(timezone=True)),  # by an operator: no records are kept for it
    PrimaryKeyConstraint("reader", "topic", "partition"),
)

#: A partition's records from offset `first` on are of `epoch`; those before the first row are of epoch 0.
epochs = Table(
    "epochs",
    metadata,
    Column("topic", Text, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("begun_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("topic", "partition", "epoch"),
)

#: The names of events and facts that a service's rules use; its reader is notified of these immediately.
wake_hints = Table(
    "wake_hints",
    metadata,
    Column("service", Text, nullable=False),
    Column("name", Text, nullable=False),
    PrimaryKeyConstraint("service", "name"),
)

#: Erasures that profile has decided, for the service that folds nothing (ingest). `hashes` are keyed: they name nobody.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("asked_at", DateTime(timezone=True), nullable=False),
    Column("hashes", ARRAY(LargeBinary), nullable=False),
)


def _topic(name: str) -> Table:
    table = Table(
        name,
        metadata,
        Column("partition", SmallInteger, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("key", Text, nullable=False),
        Column("time", DateTime(timezone=True), nullable=False),
        Column("appended_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("value", LargeBinary, nullable=False),
        PrimaryKeyConstraint("partition", "offset"),
        postgresql_partition_by='RANGE ("offset")',
    )
    if name == JOURNAL:  # for customers' timelines
        Index("journal_by_customer", table.c.key, table.c.time, table.c.partition, table.c.offset)
    return table


topics = {name: _topic(name) for name in TOPIC_NAMES}


def relation(topic: str) -> str:
    """A topic's table as SQL: `log."profile.journal"`."""
    if topic not in topics:
        raise ValueError(f"{topic} is not a topic; the topics are {', '.join(TOPIC_NAMES)}")
    return f'{SCHEMA}."{topic}"'
