"""Batches whose addresses are verified anew, whatever is cached."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "batches",
        sa.Column("refresh", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
