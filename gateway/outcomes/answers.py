"""What each source answered about each address, kept by a keyed digest of the address."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Table, delete, select

from engine.model import Address, Reason, Verdict
from gateway.cluster.shared import common_secret
from gateway.store import Store
from gateway.store.tables import source_answers

DIGEST_BYTES = 16
LOOKED_UP_AT_ONCE = 500
"""Addresses in one query."""
ROWS_PER_DELETE = 5_000
"""In one transaction."""
DIGEST_KEY_NAME = "address-digests"
"""The name of the digests' key among the common secrets of a database."""


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What one source answered about one address."""

    verdict: Verdict
    reason: Reason
    score: int
    """From 0 to 100."""
    latency_ms: int
    micros: int
    """What it cost, in millionths of the currency."""
    at: float
    """Unix time in seconds."""
    reply: str | None = None
    """The mail server's reply that led to it, without what is the address's own; None of sources
    that show none."""


def address_digest(secret: bytes, address: Address) -> bytes:
    """Stands for an address in the database: without the secret, addresses cannot be tried out."""
    text = address.normalized or address.raw
    return hmac.digest(secret, text.encode(errors="surrogatepass"), "sha256")[:DIGEST_BYTES]


async def open_answers(store: Store) -> SourceAnswers:
    """The answers in a database, whose processes all make the same digests. Raises StoreError."""
    return SourceAnswers(store, await common_secret(store, DIGEST_KEY_NAME))


class SourceAnswers:
    """The answers of all sources. Every method may raise StoreError."""

    def __init__(self, store: Store, secret: bytes) -> None:
        self._store = store
        self._secret = secret

    def digest(self, address: Address) -> bytes:
        return address_digest(self._secret, address)

    async def newest(
        self, source: str, digests: Sequence[bytes], *, since: Callable[[Verdict], float]
    ) -> dict[bytes, SourceAnswer]:
        """The newest answer of a source for each digest, unless it is older than `since` says for
        its verdict (Unix time)."""
        found: dict[bytes, SourceAnswer] = {}
        for at in range(0, len(digests), LOOKED_UP_AT_ONCE):
            some = digests[at : at + LOOKED_UP_AT_ONCE]
            query = (
                select(source_answers)
                .where(source_answers.c.address.in_(some), source_answers.c.source == source)
                .order_by(source_answers.c.at)
            )
            async with self._store.read() as connection:
                for row in await connection.execute(query):
                    answer = SourceAnswer(
                        verdict=Verdict(row.verdict),
                        reason=Reason(row.reason),
                        score=row.score,
                        latency_ms=row.latency_ms,
                        micros=row.micros,
                        at=row.at.timestamp(),
                    )
                    if answer.at >= since(answer.verdict):
                        found[bytes(row.address)] = answer
        return found

    def row(
        self, digest: bytes, source: str, answer: SourceAnswer, provider: str
    ) -> dict[str, object]:
        """An answer as a row of the table; `provider` runs the mail of the address."""
        return {
            "address": digest,
            "source": source,
            "at": datetime.fromtimestamp(answer.at, UTC),
            "provider": provider,
            "verdict": answer.verdict.value,
            "reason": answer.reason.value,
            "score": answer.score,
            "latency_ms": answer.latency_ms,
            "micros": answer.micros,
            "reply": answer.reply,
        }

    async def add_rows(self, rows: Sequence[dict[str, object]]) -> None:
        """Keep rows, sorted by address, source and time."""
        async with self._store.write() as connection:
            await self._store.insert_rows(connection, source_answers, rows, or_update=True)

    async def remove_older(self, before: float) -> None:
        """Remove the answers given before a Unix time."""
        await remove_rows_before(self._store, source_answers, before)

    def digests(self, addresses: Iterable[Address]) -> list[bytes]:
        return [self.digest(address) for address in addresses]


async def remove_rows_before(store: Store, table: Table, before: float) -> None:
    """Remove the rows of a table whose `at` is before a Unix time, in transactions that are short.

    Raises StoreError.
    """
    moment = datetime.fromtimestamp(before, UTC)
    oldest = (
        select(table.c.at)
        .where(table.c.at < moment)
        .order_by(table.c.at)
        .offset(ROWS_PER_DELETE)
        .limit(1)
    )
    while True:
        until = next(iter(await store.fetch_all(oldest)), None)
        limit = moment if until is None else until.at
        async with store.write() as connection:
            removed = await connection.execute(delete(table).where(table.c.at < limit))
        if until is None:
            return
        if not removed.rowcount:  # all of these rows have the same time
            async with store.write() as connection:
                await connection.execute(delete(table).where(table.c.at <= limit))
