"""Indexes that hold all that the report on a million outcomes reads."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_outcomes_outcome", "outcomes", ["outcome"])
    op.drop_index("ix_judged_answers_wrong", "judged_answers")
    op.create_index(
        "ix_judged_answers_wrong",
        "judged_answers",
        ["source", "verdict", "reason", "code", "text", "wrong"],
        sqlite_where=sa.text("wrong = 1"),
        postgresql_where=sa.text("wrong = 1"),
    )
