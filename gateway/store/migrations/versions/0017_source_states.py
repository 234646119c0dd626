"""Keys of upstreams that rest, and what one of several processes does for all of them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "source_states",
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "key_hash", name=op.f("pk_source_states")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "claims",
        sa.Column("name", sa.LargeBinary(16), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_claims")),
        sqlite_with_rowid=False,
    )
