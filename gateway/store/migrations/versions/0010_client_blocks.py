"""Blocks of client addresses, which outlive the process."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "client_blocks",
        sa.Column("dialect", sa.String(32), nullable=False),
        sa.Column("client", sa.String(64), nullable=False),
        sa.Column("blocked_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dialect", "client", name=op.f("pk_client_blocks")),
        sqlite_with_rowid=False,
    )
