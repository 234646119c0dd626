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
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

REVISION = "0006"
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
    Column("status", String(16), nullable=False),  # gateway.accounts.callers.Status
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

# -- batches -----------------------------------------------------------------------------
# What was submitted is written once and never changed; what came of it is written once, beside
# it; what is still to be done is a row of `batch_chunks`, which goes when it is done. Moments
# that are compared with the clock all the time are Unix seconds.

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("public_id", String(64), nullable=False),
    Column("dialect", String(32), nullable=False),
    Column("account_id", Integer, nullable=False),
    Column("key_id", Integer),  # what it was submitted with: the key's route answers it
    Column("key_label", String(200)),
    Column("state", String(16), nullable=False),  # gateway.batches.model.Stored
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("total", Integer, nullable=False),  # entries submitted
    Column("rows", Integer, nullable=False),
    Column("valid", Integer, nullable=False),
    Column("done", Integer, nullable=False),  # rows answered
    Column("counts", Text, nullable=False),  # JSON; beside `done`, so that they never differ
    Column("start", Boolean, nullable=False),  # once it is prepared
    Column("retries", Boolean, nullable=False),
    Column("checks", String(64), nullable=False),  # names of the checks wanted
    Column("headers", Text, nullable=False),  # JSON
    Column("options", Text, nullable=False),  # JSON
    Column("webhook_url", Text, nullable=False),
    Column("token", String(64), nullable=False),
    Column("allowance", BigInteger),  # of the caller's plan, for a charge that comes later
    Column("charged_month", String(7)),
    Column("charged_units", Integer, nullable=False),
    Column("turn", BigInteger, nullable=False),  # when it was last worked on, in claims
    Column("rows_until", Float),  # when its rows may go
    Column("rows_gone", Boolean, nullable=False),
    UniqueConstraint("public_id", "dialect"),
    UniqueConstraint("token"),
    Index(None, "account_id", "dialect"),
    Index(None, "state"),
    Index(None, "rows_until"),
    sqlite_autoincrement=True,  # the id of a batch that is gone is not given again
)

account_turns = Table(
    "account_turns",
    metadata,
    # when the account's batches were last worked on, in claims; it outlives the batches
    Column("account_id", Integer, primary_key=True, autoincrement=False),
    Column("turn", BigInteger, nullable=False, index=True),
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("email", Text, nullable=False),
    Column("cells", Text),  # JSON; null if there was only the address
    sqlite_with_rowid=False,
)

batch_results = Table(
    "batch_results",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("word", String(32), nullable=False),  # the dialect's, for filters
    Column("answer", LargeBinary, nullable=False),  # gateway.verdicts.codec
    sqlite_with_rowid=False,
)

batch_chunks = Table(
    "batch_chunks",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("origin", Integer),  # number of the piece that it was put off from; null: its own
    Column("positions", LargeBinary, nullable=False),  # 4 bytes each; none: prepare the batch
    Column("attempt", SmallInteger, nullable=False),  # how often it was put off
    Column("due_at", Float, nullable=False),
    Column("lease", String(128)),  # whose it is, and which of their claims
    Column("lease_until", Float),
)

vendor_lists = Table(
    "vendor_lists",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("origin", Integer, primary_key=True),  # of the piece of work
    Column("source", String(64), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("key_hash", LargeBinary(8), nullable=False),  # which of the upstream's keys owns it
    Column("job_id", String(200)),  # null: being created, or nobody knows whether it was
    Column("created_at", Float, nullable=False),
    Column("lost", Boolean, nullable=False),  # nobody will ever know
    sqlite_with_rowid=False,
)
"""Pieces of work that an upstream was given as a list of its own: never twice."""

batch_days = Table(
    "batch_days",
    metadata,
    Column("account_id", Integer, primary_key=True),
    Column("dialect", String(32), primary_key=True),
    Column("day", String(10), primary_key=True),  # YYYY-MM-DD, UTC
    Column("count", Integer, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("url", Text, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("give_up_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_word", String(200), nullable=False),  # a status, or what went wrong
    Column("lease_until", Float),
    Index(None, "due_at"),
)
"""Webhooks that are not delivered yet."""

spending = Table(
    "spending",
    metadata,
    Column("scope", String(80), primary_key=True),  # gateway.upstreams.routing.budgets.Scope
    Column("day", String(10), primary_key=True),  # YYYY-MM-DD, UTC
    Column("micros", BigInteger, nullable=False),  # millionths of the currency
)

answers = Table(
    "answers",
    metadata,
    Column("digest", LargeBinary(16), primary_key=True),  # of the question; no address is kept
    Column("answer", LargeBinary, nullable=False),  # gateway.verdicts.database
    Column("expires_at", BigInteger, nullable=False),  # Unix time, s
    Index(None, "expires_at"),
    sqlite_with_rowid=False,
)
"""The verdict cache."""

# -- our own standing --------------------------------------------------------------------
# Who refused us, for what, hour by hour, and whom we leave alone for it; no mailbox is in it.

refusals = Table(
    "refusals",
    metadata,
    Column("operator", String(255), primary_key=True),  # engine.smtp.reputation.owner_of
    Column("meaning", String(32), primary_key=True),  # engine.model.Meaning
    Column("block_list", String(255), primary_key=True),  # empty: none was named
    Column("hour", Integer, primary_key=True),  # Unix time in hours
    Column("count", BigInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),  # Unix time, s
    Column("last_at", BigInteger, nullable=False),
    Column("host", String(255), nullable=False),  # which refused last, and its words
    Column("text", Text),
    Index(None, "hour"),
    sqlite_with_rowid=False,
)

pauses = Table(
    "pauses",
    metadata,
    Column("operator", String(255), primary_key=True),
    Column("host", String(255), primary_key=True),  # empty: all of the operator's
    Column("until", BigInteger, nullable=False),  # Unix time, s
    Column("meaning", String(32), nullable=False),  # of the last refusal
    Column("block_list", String(255), nullable=False),
    Column("refusals", Integer, nullable=False),  # in a row
    Column("growth", Integer, nullable=False),  # pauses so far without a success in between
    sqlite_with_rowid=False,
)
