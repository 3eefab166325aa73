"""The tables of metrics: purchase days, active days, RFM cells, fits and scores, with totals by day."""

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

#: A customer's purchases on a day of the workspace's zone: completed orders, their revenue after refunds, and the
#: refunds, in minor units.
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

#: The same for all customers. Each partition of the journal has its own rows; reads sum them.
daily_sales = Table(
    "daily_sales",
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

#: The number of customers active on a day. Reads sum the partitions.
daily_active = Table(
    "daily_active",
    metadata,
    Column("day", Date, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("customers", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "partition"),
)

#: The number of customers who bought first on `first`, last `span` days later, and on `x` days after the first. Reads sum
#: the partitions; after a merge, one partition's number can be below zero.
rfm_cells = Table(
    "rfm_cells",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("first", Date, nullable=False),
    Column("span", Integer, nullable=False),
    Column("x", Integer, nullable=False),
    Column("customers", BigInteger, nullable=False),
    PrimaryKeyConstraint("partition", "first", "span", "x"),
)

#: Fitted models. `id` is derived from the day, the currency and the data: the same purchases give the same fit. `status`
#: is `scoring` while customers after `reached` have no score by it, then `done`.
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

#: The scores that fits gave, each with its place in the journal. A replay cannot compute them again, because a fit reads
#: whatever the database holds at its moment, so it puts these commands back.
score_commands = Table(
    "score_commands",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("fit", Uuid, nullable=False),
    Column("command", Text, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("scored_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("customer", "fit"),
)

#: The score of each customer with purchases, by the newest fit that scored them.
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
