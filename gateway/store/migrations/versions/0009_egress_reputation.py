"""A reputation for each egress; what was known before is that of the egress `default`.

The older tables stay, since processes of an earlier version may still use them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "egress_refusals",
        sa.Column("egress", sa.String(63), nullable=False),
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
            "egress",
            "operator",
            "meaning",
            "block_list",
            "hour",
            name=op.f("pk_egress_refusals"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_egress_refusals_hour"), "egress_refusals", ["hour"])
    op.create_table(
        "egress_pauses",
        sa.Column("egress", sa.String(63), nullable=False),
        sa.Column("operator", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("meaning", sa.String(32), nullable=False),
        sa.Column("block_list", sa.String(255), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("growth", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("egress", "operator", "host", name=op.f("pk_egress_pauses")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO egress_refusals (egress, operator, meaning, block_list, hour, count,"
        " first_at, last_at, host, text)"
        " SELECT 'default', operator, meaning, block_list, hour, count, first_at, last_at, host,"
        " text FROM refusals"
    )
    op.execute(
        'INSERT INTO egress_pauses (egress, operator, host, "until", meaning, block_list,'
        " refusals, growth)"
        " SELECT 'default', operator, host, \"until\", meaning, block_list, refusals, growth"
        " FROM pauses"
    )
