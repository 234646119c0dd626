"""Batches of test keys, where several processes find them."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sandbox_batches",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("dialect", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(64), nullable=True),
        sa.Column("scope", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("stored_at", sa.Float(), nullable=False),
        sa.Column("fixed", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows", sa.LargeBinary(), nullable=False),
        sa.Column("codes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_sandbox_batches")),
        sqlite_autoincrement=True,
    )
    for columns in (["dialect", "job_id"], ["scope"], ["token"]):
        name = op.f("ix_sandbox_batches_" + "_".join(columns))
        op.create_index(name, "sandbox_batches", columns)
