"""The ledger's tables: its entries, and what is summed from them."""

from sqlalchemy import BigInteger, Column, Date, DateTime, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid, func

from services.rewards.tables import metadata

#: The postings. `transaction` is the fact's id; `origin` the customer it was booked for, before any merge.
entries = Table(
    "entries",
    metadata,
    Column("customer", Uuid, nullable=False),
    Column("transaction", Uuid, nullable=False),
    Column("account", Text, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),  # credited, reversed, adjusted or expired
    Column("rule", Text),
    Column("reason", Text),
    Column("order_id", Text),
    Column("cause", Text, nullable=False),
    Column("origin", Uuid, nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),  # of the customer's facts
    Column("effective_at", DateTime(timezone=True), nullable=False),
    Column("inserted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("customer", "transaction", "account"),
)

#: The sum of the postings to an account on a day (of the workspace's zone, by when things happened). A row a partition,
#: so that folds do not wait for each other; summed on read.
totals = Table(
    "totals",
    metadata,
    Column("partition", SmallInteger, nullable=False),
    Column("day", Date, nullable=False),
    Column("account", Text, nullable=False),
    Column("points", BigInteger, nullable=False),
    PrimaryKeyConstraint("partition", "day", "account"),
)
