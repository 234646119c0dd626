"""Charges for verifications that were not answered in time, which are repeated free of charge."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "open_questions",
        sa.Column("digest", sa.LargeBinary(16), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_open_questions")),
        sqlite_with_rowid=False,
    )
