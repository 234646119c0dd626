"""What each source answered about an address, and comparisons under way."""

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import UtcDateTime

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "source_answers",
        sa.Column("address", sa.LargeBinary(16), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("score", sa.SmallInteger(), nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=False),
        sa.Column("micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("address", "source", "at", name="pk_source_answers"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_source_answers_at", "source_answers", ["at"])
    op.create_table(
        "comparisons",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("began_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_comparisons"),
        sqlite_with_rowid=False,
    )
