"""What processes need that share work: the job engine's tables, the egress that a chunk waits for,
and which versions may use the database."""

import sqlalchemy as sa
from alembic import op

from gateway.store.job_tables import run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("batch_chunks") as table:
        table.add_column(sa.Column("egress", sa.String(63)))
    op.create_table(
        "schema_state",
        sa.Column("revision", sa.String(32), nullable=False),
        sa.Column("least_reader", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_schema_state")),
    )
    run_script(op.get_bind(), "procrastinate_3_4.sql")
