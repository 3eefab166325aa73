"""The table of a service's timers (`timers`), in its own schema."""

from sqlalchemy import Column, DateTime, Index, MetaData, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid


def timer_table(metadata: MetaData) -> Table:
    """Define the timers: when something is due for a customer, once for each kind."""
    table = Table(
        "timers",
        metadata,
        Column("customer", Uuid, nullable=False),
        Column("kind", Text, nullable=False),
        Column("partition", SmallInteger, nullable=False),
        Column("due", DateTime(timezone=True), nullable=False),
        PrimaryKeyConstraint("customer", "kind"),
    )
    Index("timers_by_due", table.c.partition, table.c.due)
    return table
