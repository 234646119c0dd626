"""Use by day, and filters of addresses."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "daily_use",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("dialect", sa.String(32), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("word", sa.String(64), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "dialect", "day", "word", name=op.f("pk_daily_use")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "address_filters",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("dialect", sa.String(32), nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("value", sa.String(320), nullable=False),
        sa.Column("allows", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "account_id", "dialect", "target", "value", name=op.f("pk_address_filters")
        ),
        sqlite_with_rowid=False,
    )
