"""The fold, customers, hooks, message rows, and what events were seen."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    fold()
    customers()
    hooks()
    messages()


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
        schema="triggers",
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
        schema="triggers",
    )
    op.create_table(
        "commands",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="triggers",
    )
    op.create_table(
        "rulebooks",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("published_by", sa.Text, nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="triggers",
    )
    op.create_table(
        "rulebook_positions",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", "topic", "partition"),
        schema="triggers",
    )


def customers() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False, server_default=""),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("facts", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("merged_into", sa.Uuid),
        schema="triggers",
    )
    op.create_table(
        "identifiers",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "value"),
        schema="triggers",
    )


def hooks() -> None:
    op.create_table(
        "workspace",
        sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("daily_cap", sa.Integer),
        schema="triggers",
    )
    op.execute("INSERT INTO triggers.workspace DEFAULT VALUES")
    op.create_table(
        "hooks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("live_version", sa.Integer),
        sa.Column("in_force_at", sa.DateTime(timezone=True)),
        sa.Column("secret", sa.Text),
        sa.Column("paused_reason", sa.Text),
        sa.Column("paused_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="triggers",
    )
    op.create_table(
        "hook_versions",
        sa.Column("hook", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("edited_by", sa.Text, nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("published_by", sa.Text),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("hook", "version"),
        schema="triggers",
    )


def messages() -> None:
    op.create_table(
        "deliveries",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("hook", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("depth", sa.SmallInteger, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("lease", sa.Uuid),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.Column("seen_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("customer", "id"),
        schema="triggers",
    )
    op.create_index("deliveries_by_hook", "deliveries", ["customer", "hook", "decided_at"], schema="triggers")
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["endpoint", "next_at"],
        schema="triggers",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "deliveries_inbox",
        "deliveries",
        ["customer", "settled_at", "id"],
        schema="triggers",
        postgresql_where=sa.text("state = 'sent' AND channel = 'inbox'"),
    )
    op.create_index(
        "deliveries_queued_by_hook",
        "deliveries",
        ["hook"],
        schema="triggers",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "last_events",
        sa.Column("customer", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("depth", sa.SmallInteger, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("folded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("customer", "name"),
        schema="triggers",
    )
    op.create_table(
        "vocabulary",
        sa.Column("partition", sa.SmallInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("partition", "name", "path"),
        schema="triggers",
    )
