"""Who refused us, and whom we leave alone for it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refusals",
        sa.Column("operator", sa.String(255), nullable=False),
        sa.Column("meaning", sa.String(32), nullable=False),
        sa.Column("block_list", sa.String(255), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("text", sa.Text()),
        sa.PrimaryKeyConstraint(
            "operator", "meaning", "block_list", "hour", name=op.f("pk_refusals")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_refusals_hour"), "refusals", ["hour"])
    op.create_table(
        "pauses",
        sa.Column("operator", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("meaning", sa.String(32), nullable=False),
        sa.Column("block_list", sa.String(255), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("growth", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("operator", "host", name=op.f("pk_pauses")),
        sqlite_with_rowid=False,
    )
