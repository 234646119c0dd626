"""The tables. A change needs a migration in `migrations/versions` and a new `REVISION`.

Only portable SQL is used: what runs on SQLite must run on PostgreSQL.
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
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)

REVISION = "0026"
"""The newest migration; repeated here so that opening an up-to-date database needs no Alembic."""
LEAST_READER = "0014"
"""The oldest `REVISION` whose program may use these tables. A migration that only adds what older
programs need not fill leaves it as it is, so that versions can run side by side."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

version_table = Table(
    "alembic_version",  # as Alembic itself would make it
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC, since SQLite stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


schema_state = Table(
    "schema_state",
    metadata,
    Column("revision", String(32), primary_key=True),
    Column("least_reader", String(32), nullable=False),
)
"""One row: the tables' `REVISION`, and `LEAST_READER` of the program that made them."""

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner_email", String(320), nullable=False),
    Column("status", String(16), nullable=False),  # gateway.accounts.caller.AccountStatus
    Column("plan", String(64), nullable=False),
    Column("credits", BigInteger),  # left; null is without limit
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("credits >= 0", name="credits"),  # the last guard against overspending
)

keys = Table(
    "keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("account_id", ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("dialect", String(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),  # SHA-256; the key itself is not stored
    Column("test", Boolean, nullable=False),
    Column("hint", String(32), nullable=False),  # for its owner to recognise it
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

daily_use = Table(
    "daily_use",
    metadata,
    Column("account_id", Integer, primary_key=True),
    Column("dialect", String(32), primary_key=True),
    Column("day", String(10), primary_key=True),  # YYYY-MM-DD, UTC
    Column("word", String(64), primary_key=True),  # of Dialect.use_words
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

address_filters = Table(
    "address_filters",
    metadata,
    Column("account_id", Integer, primary_key=True),
    Column("dialect", String(32), primary_key=True),
    Column("target", String(16), primary_key=True),  # adapters.contract.filters.FilterTarget
    Column("value", String(320), primary_key=True),
    Column("allows", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)

sandbox_batches = Table(  # of test keys, where several processes find them
    "sandbox_batches",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("dialect", String(64), nullable=False),
    Column("job_id", String(64)),  # made of the number
    Column("scope", Integer, nullable=False),  # the key, or 0 and below for those of nobody
    Column("token", String(64), nullable=False),
    Column("version", Integer, nullable=False),  # counts changes
    Column("size", Integer, nullable=False),  # bytes in memory
    Column("stored_at", Float, nullable=False),  # Unix time, s
    Column("fixed", Text, nullable=False),  # JSON of what never changes
    Column("state", Text, nullable=False),  # JSON of what does
    Column("rows", LargeBinary, nullable=False),  # gateway.sandbox.rows.StoredRows
    Column("codes", LargeBinary, nullable=False),  # a byte for each row: its kind
    Index(None, "dialect", "job_id"),
    Index(None, "scope"),
    Index(None, "token"),
    sqlite_autoincrement=True,  # the id of a deleted batch is not used again
)

open_questions = Table(
    "open_questions",
    metadata,
    Column("digest", LargeBinary(16), primary_key=True),  # of account, address, checks
    Column("month", String(7), nullable=False),  # of the charge, YYYY-MM
    Column("units", Integer, nullable=False),
    Column("expires_at", Float, nullable=False),  # Unix time, s
    sqlite_with_rowid=False,
)
"""Verifications that were charged and not answered in time: repeating them is free."""

client_blocks = Table(
    "client_blocks",
    metadata,
    Column("dialect", String(32), primary_key=True),
    Column("client", String(64), primary_key=True),  # its IP address
    Column("blocked_at", BigInteger, nullable=False),  # Unix time, s
    sqlite_with_rowid=False,
)

milestones = Table(
    "milestones",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("reached_at", UtcDateTime, nullable=False),
)
"""Things that are done once for a database; of two processes that try at once, the primary key
lets one through."""

processes = Table(
    "processes",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(255), nullable=False),  # host name and process id, for people
    Column("kind", String(16), nullable=False),  # gateway.cluster.processes.ProcessKind
    Column("version", String(64), nullable=False),
    Column("egress", Text, nullable=False),  # names of its egresses, separated by spaces
    Column("started_at", BigInteger, nullable=False),  # Unix time, s
    Column("seen_at", BigInteger, nullable=False),
)
"""Who shares the limits. Leases are not freed by it: the dispatch knows who is alive."""

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Random values that all processes of a database need to have in common."""
activity = Table(
    "activity",
    metadata,
    Column("span", Integer, primary_key=True),  # s
    Column("start", BigInteger, primary_key=True),  # Unix time, s
    Column("subject", String(16), primary_key=True),  # gateway.observability.activity.Subject
    Column("name", String(100), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),  # in the subject's unit
    sqlite_with_rowid=False,
)
"""What the server did, in buckets of time."""

source_pauses = Table(
    "source_pauses",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("paused_at", BigInteger, nullable=False),  # Unix time, s
    sqlite_with_rowid=False,
)
"""Sources that an operator has taken out of use."""

console_tokens = Table(
    "console_tokens",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),  # SHA-256; the token is not stored
    Column("kind", String(8), nullable=False),  # gateway.accounts.console_access.TokenKind
    Column("role", String(16), nullable=False),  # gateway.accounts.console_access.Role
    Column("proof", LargeBinary(32), nullable=False),  # fits the password that it was got for
    Column("expires_at", BigInteger, nullable=False),  # Unix time, s
    sqlite_with_rowid=False,
)
"""Sessions of the console, and links by which one may be begun."""

# -- batches -----------------------------------------------------------------------------
# Submitted addresses are written once and never changed; so are their results, in a table of their
# own. A chunk that is still to be verified is a row of `batch_chunks`, deleted when it is done.
# Times that are often compared with the clock are Unix seconds.

batches = Table(
    "batches",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("public_id", String(64), nullable=False),
    Column("dialect", String(32), nullable=False),
    Column("account_id", Integer, nullable=False),
    Column("key_id", Integer),  # of the submission; decides the route
    Column("key_label", String(200)),
    Column("state", String(16), nullable=False),  # JobState, or gateway.batches.model.InternalState
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("total", Integer, nullable=False),  # entries submitted
    Column("rows", Integer, nullable=False),
    Column("valid", Integer, nullable=False),
    Column("done", Integer, nullable=False),  # rows with a result
    Column("counts", Text, nullable=False),  # JSON; in the same row as `done`, so that they agree
    Column("start", Boolean, nullable=False),  # as soon as it is prepared
    Column("retries", Boolean, nullable=False),
    Column("checks", String(64), nullable=False),  # names, separated by commas
    Column("refresh", Boolean, nullable=False, server_default=false()),  # past the verdict cache
    Column("name", Text, nullable=False, server_default=""),
    Column("headers", Text, nullable=False),  # JSON
    Column("options", Text, nullable=False),  # JSON
    Column("webhook_url", Text, nullable=False),
    Column("token", String(64), nullable=False),
    Column("allowance", BigInteger),  # of the caller's plan, for a later charge
    Column("charged_month", String(7)),
    Column("charged_units", Integer, nullable=False),
    Column("turn", BigInteger, nullable=False),  # number of its last claim
    Column("rows_until", Float),  # Unix time of their expiry
    Column("rows_gone", Boolean, nullable=False),
    UniqueConstraint("public_id", "dialect"),
    UniqueConstraint("token"),
    Index(None, "account_id", "dialect"),
    Index(None, "state"),
    Index(None, "rows_until"),
    sqlite_autoincrement=True,  # the id of a deleted batch is not used again
)

batch_items = Table(
    "batch_items",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("email", Text, nullable=False),
    Column("cells", Text),  # JSON, the other columns; null if there are none
    Column("duplicate_of", Integer),  # position of the row that is verified in its place
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
    Column("origin", Integer),  # the chunk it was split off; null if it was not
    Column("positions", LargeBinary, nullable=False),  # 4 bytes each; empty: prepare the batch
    Column("attempt", SmallInteger, nullable=False),  # how often it was greylisted
    Column("egress", String(63)),  # that asked before; null: any may
    Column("due_at", Float, nullable=False),
    Column("lease", String(128)),  # the holder and the number of its claim
    Column("lease_until", Float),
)

vendor_lists = Table(
    "vendor_lists",
    metadata,
    Column("batch_id", Integer, primary_key=True),
    Column("origin", Integer, primary_key=True),  # number of the chunk
    Column("source", String(64), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("key_hash", LargeBinary(8), nullable=False),  # the upstream's key that created it
    Column("job_id", String(200)),  # null: being created, or unknown
    Column("created_at", Float, nullable=False),
    Column("lost", Boolean, nullable=False),  # whether it was created will stay unknown
    sqlite_with_rowid=False,
)
"""Vendor jobs: chunks that were submitted to an upstream, each at most once."""

batch_days = Table(
    "batch_days",
    metadata,
    Column("account_id", Integer, primary_key=True),
    Column("dialect", String(32), primary_key=True),
    Column("day", String(10), primary_key=True),  # YYYY-MM-DD, UTC
    Column("count", Integer, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("batch_id", Integer, nullable=False),
    Column("dialect", String(32), nullable=False),
    Column("url", Text, nullable=False),
    Column("event", String(64), nullable=False),  # the vendor's name; empty: the batch is done
    Column("position", Integer),  # of the row that it reports; null if it reports none
    Column("body", LargeBinary),  # null: made of the batch when it is sent
    Column("headers", Text),  # JSON, with the body
    Column("due_at", Float, nullable=False),
    Column("give_up_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_word", String(200), nullable=False),  # of the last attempt: a status, or an error
    Column("lease_until", Float),
    Index(None, "due_at"),
    Index(None, "batch_id"),
    sqlite_autoincrement=True,  # a late delivery must not be taken for another one
)
"""Webhooks that are not yet delivered."""

spending = Table(
    "spending",
    metadata,
    Column("scope", String(80), primary_key=True),  # of a SpendingScope
    Column("day", String(10), primary_key=True),  # YYYY-MM-DD, UTC
    Column("micros", BigInteger, nullable=False),  # millionths of the currency
)

source_states = Table(
    "source_states",
    metadata,
    Column("source", String(64), primary_key=True),
    Column("key_hash", LargeBinary(16), primary_key=True),  # empty: the source itself
    Column("state", String(16), nullable=False),  # gateway.upstreams.source.states.Rest
    Column("until", BigInteger, nullable=False),  # Unix time, s
    sqlite_with_rowid=False,
)
"""Keys of upstreams that were refused or rest, and upstreams that refuse our account."""

claims = Table(
    "claims",
    metadata,
    Column("name", LargeBinary(16), primary_key=True),  # a hash
    Column("until", Float, nullable=False),  # Unix time, s
    sqlite_with_rowid=False,
)
"""What one of several processes does for all of them."""

answers = Table(
    "answers",
    metadata,
    Column("digest", LargeBinary(16), primary_key=True),  # of address, checks, route
    Column("answer", LargeBinary, nullable=False),  # gateway.verdicts.database
    Column("expires_at", BigInteger, nullable=False),  # Unix time, s
    Index(None, "expires_at"),
    sqlite_with_rowid=False,
)
"""The verdict cache. It stores no addresses."""

source_answers = Table(
    "source_answers",
    metadata,
    Column("address", LargeBinary(16), primary_key=True),  # gateway.outcomes.answers.address_digest
    Column("source", String(64), primary_key=True),
    Column("at", UtcDateTime, primary_key=True),
    Column("provider", String(64), nullable=False),  # the operator of its mail hosts
    Column("verdict", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("score", SmallInteger, nullable=False),
    Column("latency_ms", Integer, nullable=False),
    Column("micros", BigInteger, nullable=False),  # what it cost, in millionths of the currency
    Column("reply", String(240)),  # that the engine read it from, without names and hosts
    Index(None, "at"),
    sqlite_with_rowid=False,
)
"""What each source answered. It stores no addresses."""

outcomes = Table(
    "outcomes",
    metadata,
    Column("address", LargeBinary(16), primary_key=True),  # as in source_answers
    Column("outcome", String(16), primary_key=True),  # gateway.outcomes.terms.Outcome
    Column("at", UtcDateTime, primary_key=True),
    Column("service", String(16), nullable=False),  # who told it
    Column("code", String(16), nullable=False),
    Column("text", String(200), nullable=False),  # without addresses
    Index(None, "at"),
    Index(None, "outcome"),
    sqlite_with_rowid=False,
)
"""What became of mails."""

event_tokens = Table(
    "event_tokens",
    metadata,
    Column("token", LargeBinary(16), primary_key=True),  # a digest
    Column("event", LargeBinary(16), nullable=False),  # a digest of what came with it
    Column("at", UtcDateTime, nullable=False),
    Index(None, "at"),
    sqlite_with_rowid=False,
)
"""Tokens of Mailgun's events, each of which may come with one event alone."""

mailbox_imports = Table(
    "mailbox_imports",
    metadata,
    Column("mailbox", LargeBinary(16), primary_key=True),  # a digest of its path
    Column("position", Text, nullable=False),  # gateway.outcomes.mailboxes
    Column("tallies", Text, nullable=False),  # JSON: what was read before that position
    Column("at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)
"""Imports of mailboxes that are not finished, so that the same command goes on."""

judged_answers = Table(
    "judged_answers",
    metadata,
    Column("address", LargeBinary(16), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("at", UtcDateTime, nullable=False),  # of the outcome that decides
    Column("provider", String(64), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("band", SmallInteger, nullable=False),  # of its score, in tens
    Column("reply", String(240)),
    Column("bounced", SmallInteger, nullable=False),  # 1 if any mail to it bounced hard
    Column("code", String(16), nullable=False),
    Column("text", String(200), nullable=False),
    Column("wrong", SmallInteger, nullable=False),  # 1 if the verdict was
    Index(None, "at"),
    Index(None, "source", "provider", "verdict", "band", "bounced"),
    sqlite_with_rowid=False,
)
Index(
    "ix_judged_answers_wrong",
    *(judged_answers.c[name] for name in ("source", "verdict", "reason", "code", "text", "wrong")),
    sqlite_where=text("wrong = 1"),
    postgresql_where=text("wrong = 1"),
)
Index(
    "ix_judged_answers_reply",
    *(judged_answers.c[name] for name in ("source", "reply", "verdict", "reason", "bounced")),
    sqlite_where=text("reply IS NOT NULL"),
    postgresql_where=text("reply IS NOT NULL"),
)
"""The newest answer of a source from before the outcome that decides, with that outcome: made of
the two tables above when outcomes come in, since joining a million takes seconds."""

shadow_agreement = Table(
    "shadow_agreement",
    metadata,
    Column("day", String(10), primary_key=True),  # YYYY-MM-DD, UTC
    Column("shadow", String(64), primary_key=True),  # a source of `routing.shadow`
    Column("source", String(64), primary_key=True),  # whose verdict the client got
    Column("provider", String(64), primary_key=True),  # the operator of the mail hosts
    Column("shadow_verdict", String(16), primary_key=True),
    Column("verdict", String(16), primary_key=True),
    Column("count", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How often each pair of verdicts occurred. It stores no addresses."""

comparisons = Table(
    "comparisons",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),  # of the list and the options
    Column("began_at", UtcDateTime, nullable=False),
    sqlite_with_rowid=False,
)
"""Comparisons that are not finished, so that the same command goes on."""

# -- reputation --------------------------------------------------------------------------
# Refusals by egress, operator, meaning and hour, and the pauses that follow from them; no
# mailboxes.

egress_refusals = Table(
    "egress_refusals",
    metadata,
    Column("egress", String(63), primary_key=True),  # its name
    Column("operator", String(255), primary_key=True),  # of a mail host
    Column("meaning", String(32), primary_key=True),  # engine.model.Meaning
    Column("block_list", String(255), primary_key=True),  # empty if none was named
    Column("hour", Integer, primary_key=True),  # Unix time in hours
    Column("count", BigInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),  # Unix time, s
    Column("last_at", BigInteger, nullable=False),
    Column("host", String(255), nullable=False),  # of the last refusal, with its reply
    Column("text", Text),
    Index(None, "hour"),
    sqlite_with_rowid=False,
)

egress_pauses = Table(
    "egress_pauses",
    metadata,
    Column("egress", String(63), primary_key=True),
    Column("operator", String(255), primary_key=True),
    Column("host", String(255), primary_key=True),  # empty: the whole operator
    Column("until", BigInteger, nullable=False),  # Unix time, s
    Column("meaning", String(32), nullable=False),  # of the last refusal
    Column("block_list", String(255), nullable=False),
    Column("refusals", Integer, nullable=False),  # consecutive
    Column("growth", Integer, nullable=False),  # consecutive pauses without a success
    sqlite_with_rowid=False,
)

# Those of versions without egresses, which processes that are not upgraded yet still use.

refusals = Table(
    "refusals",
    metadata,
    Column("operator", String(255), primary_key=True),  # of a mail host
    Column("meaning", String(32), primary_key=True),  # engine.model.Meaning
    Column("block_list", String(255), primary_key=True),  # empty if none was named
    Column("hour", Integer, primary_key=True),  # Unix time in hours
    Column("count", BigInteger, nullable=False),
    Column("first_at", BigInteger, nullable=False),  # Unix time, s
    Column("last_at", BigInteger, nullable=False),
    Column("host", String(255), nullable=False),  # of the last refusal, with its reply
    Column("text", Text),
    Index(None, "hour"),
    sqlite_with_rowid=False,
)

pauses = Table(
    "pauses",
    metadata,
    Column("operator", String(255), primary_key=True),
    Column("host", String(255), primary_key=True),  # empty: the whole operator
    Column("until", BigInteger, nullable=False),  # Unix time, s
    Column("meaning", String(32), nullable=False),  # of the last refusal
    Column("block_list", String(255), nullable=False),
    Column("refusals", Integer, nullable=False),  # consecutive
    Column("growth", Integer, nullable=False),  # consecutive pauses without a success
    sqlite_with_rowid=False,
)
