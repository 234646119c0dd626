"""How often the verdicts of shadow sources agree with those that clients got."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shadow_agreement",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("shadow", sa.String(64), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("shadow_verdict", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "day",
            "shadow",
            "source",
            "provider",
            "shadow_verdict",
            "verdict",
            name=op.f("pk_shadow_agreement"),
        ),
        sqlite_with_rowid=False,
    )
