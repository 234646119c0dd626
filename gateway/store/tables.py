"""The tables. A change here wants a migration in `migrations/versions` and a new `REVISION`.

Portable SQL alone: whatever runs on SQLite must run on PostgreSQL.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

REVISION = "0001"
"""The newest migration; known here so that an up-to-date database starts without Alembic."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment; kept in UTC, since SQLite forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner_email", String(320), nullable=False),
    Column("status", String(16), nullable=False),  # gateway.callers.Status
    Column("plan", String(64), nullable=False),
    Column("credits", BigInteger),  # what is left; null is without limit
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("credits >= 0", name="credits"),  # the last guard against overspending
)

keys = Table(
    "keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("dialect", String(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),  # SHA-256; the key itself is kept nowhere
    Column("test", Boolean, nullable=False),
    Column("hint", String(32), nullable=False),  # enough to recognise it by
    Column("label", String(200)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    UniqueConstraint("hash", "dialect"),
    Index(None, "account_id"),
)

usage = Table(
    "usage",
    metadata,
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("month", String(7), primary_key=True),  # YYYY-MM, UTC
    Column("used", BigInteger, nullable=False),
    CheckConstraint("used >= 0", name="used"),
)

milestones = Table(
    "milestones",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("reached_at", UtcDateTime, nullable=False),
)
"""What is done once in a database's life; the key decides between two who try at once."""
