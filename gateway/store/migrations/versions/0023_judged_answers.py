"""Answers of sources with what became of mail to their addresses, and the replies behind them."""

import sqlalchemy as sa
from alembic import op

from gateway.store.tables import UtcDateTime

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("source_answers", sa.Column("reply", sa.String(240), nullable=True))
    op.create_table(
        "judged_answers",
        sa.Column("address", sa.LargeBinary(16), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("band", sa.SmallInteger(), nullable=False),
        sa.Column("reply", sa.String(240), nullable=True),
        sa.Column("bounced", sa.SmallInteger(), nullable=False),
        sa.Column("code", sa.String(16), nullable=False),
        sa.Column("text", sa.String(200), nullable=False),
        sa.Column("wrong", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("address", "source", name="pk_judged_answers"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_judged_answers_at", "judged_answers", ["at"])
    op.create_index(
        "ix_judged_answers_source_provider_verdict_band_bounced",
        "judged_answers",
        ["source", "provider", "verdict", "band", "bounced"],
    )
    op.create_index(
        "ix_judged_answers_wrong",
        "judged_answers",
        ["source", "verdict", "reason", "code", "text"],
        sqlite_where=sa.text("wrong = 1"),
        postgresql_where=sa.text("wrong = 1"),
    )
    op.create_index(
        "ix_judged_answers_reply",
        "judged_answers",
        ["source", "reply", "verdict", "reason", "bounced"],
        sqlite_where=sa.text("reply IS NOT NULL"),
        postgresql_where=sa.text("reply IS NOT NULL"),
    )
