"""Names of batches, and several webhooks of a batch."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("name", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("dialect", sa.String(32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("position", sa.Integer()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("headers", sa.Text()),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("give_up_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_word", sa.String(200), nullable=False),
        sa.Column("lease_until", sa.Float()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_webhooks_due_at"), "webhooks", ["due_at"])
    op.create_index(op.f("ix_webhooks_batch_id"), "webhooks", ["batch_id"])
    op.execute(
        "INSERT INTO webhooks (batch_id, dialect, url, event, due_at, give_up_at, attempts,"
        " last_word, lease_until) SELECT d.batch_id, b.dialect, d.url, '', d.due_at, d.give_up_at,"
        " d.attempts, d.last_word, d.lease_until"
        " FROM deliveries d JOIN batches b ON b.id = d.batch_id"
    )
    op.drop_index(op.f("ix_deliveries_due_at"), "deliveries")
    op.drop_table("deliveries")
