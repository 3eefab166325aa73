"""Metrics' tables: what was bought by day, who was active, the histogram that models are fitted on, fits and scores."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
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
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.fold.tables import customer_tables, fold_tables, section_table
from libs.common.http.auth.tickets import ticket_table

metadata = MetaData(schema="metrics")
FOLD = fold_tables(metadata)
CUSTOMERS = customer_tables(metadata)
SECTIONS = section_table(metadata)
tickets = ticket_table(metadata)
Index("identifiers_by_customer", CUSTOMERS.identifiers.c.customer)

#: What a customer bought on a day of the workspace's zone: completed orders, what is left of them after refunds, and
#: what was refunded, in minor units.
purchase_days = Table(
    "purchase_days",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    Column("currency", Text, nullable=False),
    Column("orders", Integer, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    PrimaryKeyConstraint("customer", "day", "currency"),
)

#: The same by day over all customers. Each partition of the journal has its own rows, summed on read.
days = Table(
    "days",
    metadata,
    Column("day", Date, nullable=False),
    Column("currency", Text, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "currency", "partition"),
)

#: The days on which a customer sent any event.
active_days = Table(
    "active_days",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("day", Date, nullable=False),
    PrimaryKeyConstraint("customer", "day"),
)
Index("active_days_by_day", active_days.c.day)

#: How many customers were active on a day; summed over partitions on read.
active_totals = Table(
    "active_totals",
    metadata,
    Column("day", Date, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("customers", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "partition"),
)

#: How many customers (`n`) bought first on `first`, last `span` days later, on `x` days after the first. Summed over
#: partitions on read; a merge may leave one partition's count below zero.
histogram = Table(
    "histogram",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("first", Date, nullable=False),
    Column("span", Integer, nullable=False),
    Column("x", Integer, nullable=False),
    Column("n", BigInteger, nullable=False),
    PrimaryKeyConstraint("partition", "first", "span", "x"),
)

#: Fitted models. `id` derives from what went in, so that the same question on the same purchases is the same fit.
#: `status` is `scoring` until every customer up to `reached` has been scored by it, then `done`.
fits = Table(
    "fits",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("as_of", Date, nullable=False),
    Column("currency", Text, nullable=False),
    Column("customers", BigInteger, nullable=False),
    Column("repeat_customers", BigInteger, nullable=False),
    Column("models", JSONB, nullable=False),
    Column("status", Text, nullable=False),
    Column("reached", Uuid),
    Column("scored", BigInteger, nullable=False, server_default="0"),
    Column("changed", BigInteger, nullable=False, server_default="0"),
    Column("asked_by", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("done_at", DateTime(timezone=True)),
)

#: What each fit said of each customer, and where in the journal: it was made from what was known a moment before, so a
#: replay cannot make it again, and puts this back.
scorings = Table(
    "scorings",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("fit", Uuid, nullable=False),
    Column("command", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("scored_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("customer", "fit"),
)

#: The score of each customer who has bought, by the newest fit that scored them.
scores = Table(
    "scores",
    metadata,
    Column("customer", Uuid, primary_key=True),
    Column("fit", Uuid, nullable=False),
    Column("as_of", Date, nullable=False),
    Column("currency", Text, nullable=False),
    Column("risk", Double, nullable=False),
    Column("risk_band", Text, nullable=False),
    Column("cltv", Double, nullable=False),
    Column("value_band", Text, nullable=False),
    Column("worth", Double, nullable=False),
    Column("expected_purchases", Double, nullable=False),
    Column("x", Integer, nullable=False),
    Column("first", Date, nullable=False),
    Column("last", Date, nullable=False),
)
for _order in ("risk", "cltv", "worth"):
    Index(f"scores_by_{_order}", scores.c[_order], scores.c.customer)
