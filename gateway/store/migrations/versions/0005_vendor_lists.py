"""Lists that upstreams work on, and whose key a batch came with."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("key_id", sa.Integer()))
    op.add_column("batches", sa.Column("key_label", sa.String(200)))
    op.add_column("batch_chunks", sa.Column("origin", sa.Integer()))
    op.create_table(
        "vendor_lists",
        sa.Column("batch_id", sa.Integer(), nullable=False),
        sa.Column("origin", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(8), nullable=False),
        sa.Column("job_id", sa.String(200)),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "batch_id", "origin", "source", "part", name=op.f("pk_vendor_lists")
        ),
        sqlite_with_rowid=False,
    )
