"""Tokens of mail services' events, and imports of mailboxes that are not finished."""

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import UtcDateTime

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "event_tokens",
        sa.Column("token", sa.LargeBinary(16), nullable=False),
        sa.Column("event", sa.LargeBinary(16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_event_tokens"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_event_tokens_at", "event_tokens", ["at"])
    op.create_table(
        "mailbox_imports",
        sa.Column("mailbox", sa.LargeBinary(16), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("tallies", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", name="pk_mailbox_imports"),
        sqlite_with_rowid=False,
    )
