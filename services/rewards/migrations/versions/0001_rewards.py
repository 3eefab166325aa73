"""The fold, customers, programmes, the ledger and its sums."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    fold()
    customers()
    programmes()
    ledger()


def fold() -> None:
    op.create_table(
        "positions",
        sa.Column("reader", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("hint", sa.BigInteger),
        sa.Column("rulebook", sa.Integer, nullable=False, server_default="0"),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("reader", "topic", "partition"),
        schema="rewards",
        postgresql_with={"fillfactor": 10},
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("trace", sa.Text, nullable=False),
        sa.Column("died_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("outcome", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("settled_by", sa.Text),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("stamp", sa.Text),
        schema="rewards",
    )
    op.create_table(
        "commands",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="rewards",
    )
    op.create_table(
        "rulebooks",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="rewards",
    )
    op.create_table(
        "rulebook_positions",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", "topic", "partition"),
        schema="rewards",
    )


def customers() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("facts", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("merged_into", sa.Uuid),
        schema="rewards",
    )
    op.create_table(
        "identifiers",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "value"),
        schema="rewards",
    )


def programmes() -> None:
    op.create_table(
        "programmes",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("rulebook", sa.Integer),
        sa.Column("edited_by", sa.Text, nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("published_by", sa.Text),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", "version"),
        schema="rewards",
    )
    for name, column, status in (("programmes_one_live", "status", "live"), ("programmes_one_draft", "id", "draft")):
        op.create_index(
            name,
            "programmes",
            [column],
            schema="rewards",
            unique=True,
            postgresql_where=sa.text(f"status = '{status}'"),
        )


def ledger() -> None:
    op.create_table(
        "entries",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("transaction", sa.Uuid, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("rule", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("order_id", sa.Text),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("origin", sa.Uuid, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("inserted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("customer", "transaction", "account"),
        schema="rewards",
    )
    op.create_table(
        "totals",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("partition", "day", "account"),
        schema="rewards",
    )
    op.create_table(
        "standings",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("customer", "kind", "item"),
        schema="rewards",
    )
    op.create_table(
        "tallies",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("partition", "day", "kind", "item"),
        schema="rewards",
    )
