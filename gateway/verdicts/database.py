"""Verdicts in the database, where they survive a restart.

Memory holds the digests of the stored ones, so that an address without a stored verdict costs no
query; unless other processes store verdicts, too. Verdicts are written together and a little later:
a kill loses some, which are then verified once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from itertools import islice

from sqlalchemy import Select, delete, func, select

from engine.model import Address, Checks, Verification
from gateway.errors import StorageUnavailable
from gateway.store import Store, StoreError
from gateway.store.tables import answers
from gateway.tasks import PeriodicWrites
from gateway.verdicts.codec import decode_verification, encode_verification

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
PURGE_EVERY_S = 60.0
MAX_UNWRITTEN = 20_000
"""Verdicts that wait to be written; beyond it new ones are cached in memory only."""
ROWS_PER_READ = 2_000
ROWS_PER_DELETE = 2_000
ROWS_PER_WRITE = 1_000
"""In one transaction, which other writers wait for."""

_Unwritten = dict[bytes, tuple[Verification, int]]
"""By digest, a verdict and when it expires."""


class SqlVerdictStore:
    """The stored part of the verdict cache. `clock` is Unix time in seconds."""

    def __init__(
        self,
        store: Store,
        *,
        max_entries: int,
        clock: Callable[[], float],
        is_alone: Callable[[], bool] = lambda: True,
    ) -> None:
        """`is_alone`: whether no other process stores verdicts."""
        self._store = store
        self._is_alone = is_alone
        self._max_entries = max_entries
        self._clock = clock
        self._stored_digests: set[bytes] = set()
        self._unwritten: _Unwritten = {}

    async def load_digests(self) -> None:
        """Read the digests of the stored verdicts, if they will be used. Raises StoreError."""
        last = b""
        while self._is_alone():
            page = (
                select(answers.c.digest)
                .where(answers.c.digest > last, answers.c.expires_at > int(self._clock()))
                .order_by(answers.c.digest)
                .limit(ROWS_PER_READ)
            )
            async with self._store.read() as connection:
                found = [bytes(row.digest) for row in await connection.execute(page)]
            if not found:
                return
            self._stored_digests.update(found)
            last = found[-1]

    async def get_many(
        self, partition: str, addresses: Sequence[Address], checks: Sequence[Checks]
    ) -> dict[str, tuple[Verification, float]]:
        """As `VerdictStore.get_many`."""
        is_alone = self._is_alone()
        stored = {
            digest: (address, made_with)
            for address in addresses
            for made_with in checks
            if (digest := _digest(partition, address, made_with)) in self._stored_digests
            or not is_alone
        }
        if not stored:
            return {}
        rows = select(answers.c.digest, answers.c.answer, answers.c.expires_at).where(
            answers.c.digest.in_(stored), answers.c.expires_at > int(self._clock())
        )
        try:
            found = {bytes(row.digest): row for row in await self._store.fetch_all(rows)}
        except StoreError:
            return {}
        self._stored_digests.difference_update(stored.keys() - found.keys())
        verdicts: dict[str, tuple[Verification, float]] = {}
        for digest, (address, made_with) in stored.items():
            if digest in found and address.normalized not in verdicts:
                row = found[digest]
                verification = decode_verification(row.answer, "", made_with)
                verification = replace(verification, address=address, cached=True)
                verdicts[address.normalized] = verification, float(row.expires_at)
        return verdicts

    def put(self, partition: str, verification: Verification, expires_at: float) -> None:
        """Store a verdict with the next write."""
        if len(self._unwritten) < MAX_UNWRITTEN:
            digest = _digest(partition, verification.address, verification.checks)
            self._unwritten[digest] = (verification, int(expires_at))

    def periodic_writes(self) -> PeriodicWrites:
        """What writes new verdicts and deletes expired ones."""
        return PeriodicWrites(
            self.write,
            self._report_failure,
            every_s=WRITE_EVERY_S,
            purge=self.purge,
            purge_every_s=PURGE_EVERY_S,
        )

    def _report_failure(self, error: StorageUnavailable, is_last: bool) -> None:
        extra = {"rows": len(self._unwritten), "error": str(error)}
        if is_last:
            log.warning("verdicts.lost", extra=extra)
        else:
            log.warning("verdicts.write_delayed", extra=extra)

    async def write(self) -> None:
        """Write the verdicts that wait. Raises StoreError."""
        waiting, self._unwritten = self._unwritten, {}
        try:
            while waiting:
                some = dict(islice(waiting.items(), ROWS_PER_WRITE))
                # in a thread: encoding a second's verdicts takes some milliseconds
                rows = await asyncio.to_thread(_encode_rows, some)
                insert = partial(self._store.insert_rows, into=answers, rows=rows, or_update=True)
                await self._store.transact(insert, in_background=True)
                if self._is_alone():
                    self._stored_digests.update(some)
                for digest in some:
                    del waiting[digest]
        except StoreError:
            self._unwritten = {**waiting, **self._unwritten}
            raise

    async def purge(self) -> None:
        """Delete expired verdicts, and the oldest beyond the limit. Raises StoreError."""
        expired = select(answers.c.digest).where(answers.c.expires_at <= int(self._clock()))
        while await self._delete(expired, ROWS_PER_DELETE) == ROWS_PER_DELETE:
            pass  # a transaction each, so that other writers get their turn
        while (too_many := await self._count() - self._max_entries) > 0:
            oldest = select(answers.c.digest).order_by(answers.c.expires_at)
            if not await self._delete(oldest, min(too_many, ROWS_PER_DELETE)):
                return

    async def _count(self) -> int:
        if self._is_alone():
            return len(self._stored_digests)
        rows = await self._store.fetch_all(select(func.count()).select_from(answers))
        return int(rows[0][0])

    async def _delete(self, query: Select[tuple[bytes]], limit: int) -> int:
        """Delete up to so many rows and their digests; returns their number."""
        statement = delete(answers).where(answers.c.digest.in_(query.limit(limit)))
        async with self._store.write() as connection:
            rows = await connection.execute(statement.returning(answers.c.digest))
            digests = [bytes(row.digest) for row in rows]
        self._stored_digests.difference_update(digests)
        return len(digests)


def _encode_rows(waiting: _Unwritten) -> list[dict[str, bytes | int]]:
    # the digest is enough: the address itself is not stored
    return [
        {
            "digest": digest,
            "answer": encode_verification(verification, with_address=False),
            "expires_at": expires_at,
        }
        for digest, (verification, expires_at) in waiting.items()
    ]


def _digest(partition: str, address: Address, checks: Checks) -> bytes:
    # The policies were looked up for every verdict once, and the digests had no flag for them.
    flags = f"{checks.dns:d}{checks.smtp:d}{checks.catch_all:d}{'' if checks.policies else '0'}"
    text = "\n".join((partition, flags, address.normalized))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
