"""Answers kept in the database, so that a restart does not ask again.

Which answers are there is known in memory, by the digests of their questions alone, so that
a question that was never asked costs no trip to the database. Answers are written a little
later and together: what a kill takes with it is asked once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain

from sqlalchemy import Select, delete, select

from engine.model import Address, Checks, Verification
from gateway.store import Store, StoreError
from gateway.store.tables import answers
from gateway.verdicts.codec import decode, encode

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.5
PURGE_EVERY_S = 60.0
MAX_WAITING = 20_000
"""Answers not written yet; beyond it new ones are kept in memory alone."""
READ_AT_ONCE = 2_000
WRITE_AT_ONCE = 250
"""Rows in a statement; three parameters each, of which SQLite once allowed no more than 999."""
PURGE_AT_ONCE = 2_000

_Waiting = dict[bytes, tuple[Verification, int]]
"""By digest, an answer and when it expires."""


class Answers:
    """The stored part of the verdict cache. `clock` is Unix time in seconds."""

    def __init__(self, store: Store, *, most: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._most = most
        self._clock = clock
        self._there: set[bytes] = set()
        self._waiting: _Waiting = {}

    async def load(self) -> None:
        """Learn which answers are there. Raises StoreError."""
        last = b""
        while True:
            page = (
                select(answers.c.digest)
                .where(answers.c.digest > last, answers.c.expires_at > int(self._clock()))
                .order_by(answers.c.digest)
                .limit(READ_AT_ONCE)
            )
            async with self._store.read() as connection:
                found = [bytes(row.digest) for row in await connection.execute(page)]
            if not found:
                return
            self._there.update(found)
            last = found[-1]

    async def find(
        self, shares: str, addresses: Sequence[Address], checks: Checks
    ) -> dict[str, tuple[Verification, float]]:
        """The answers to exactly these questions, by normalised address, and when they expire.

        Names are not in them (`gateway.verdicts.owners`).
        """
        there = {
            digest: address
            for address in addresses
            if (digest := _digest(shares, address, checks)) in self._there
        }
        if not there:
            return {}
        current = answers.c.expires_at > int(self._clock())
        rows = select(answers.c.digest, answers.c.answer, answers.c.expires_at).where(
            answers.c.digest.in_(there), current
        )
        try:
            async with self._store.read() as connection:
                found = {bytes(row.digest): row for row in await connection.execute(rows)}
        except StoreError:
            return {}
        self._there.difference_update(there.keys() - found.keys())
        return {
            there[digest].normalized: (
                replace(decode(row.answer, "", checks), address=there[digest]),
                float(row.expires_at),
            )
            for digest, row in found.items()
        }

    def keep(self, shares: str, verification: Verification, expires_at: float) -> None:
        """Write it soon."""
        if len(self._waiting) < MAX_WAITING:
            digest = _digest(shares, verification.address, verification.checks)
            self._waiting[digest] = (verification, int(expires_at))

    async def writing(self) -> None:
        """Write what waits and purge what is over, until cancelled."""
        purge_at = self._clock() + PURGE_EVERY_S
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            try:
                await self.write()
                if self._clock() >= purge_at:
                    purge_at = self._clock() + PURGE_EVERY_S
                    await self.purge()
            except StoreError as exc:
                log.warning("answers not written yet", extra={"why": str(exc)})

    async def write(self) -> None:
        """Write what waits. Raises StoreError."""
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        # beside the loop: a second's answers are some milliseconds' work
        rows = await asyncio.to_thread(_rows, waiting)
        try:
            async with self._store.write() as connection:
                for start in range(0, len(rows), WRITE_AT_ONCE):
                    some = rows[start : start + WRITE_AT_ONCE]
                    await connection.exec_driver_sql(_upsert(len(some)), tuple(chain(*some)))
        except StoreError:
            self._waiting = {**waiting, **self._waiting}
            raise
        self._there.update(waiting)

    async def purge(self) -> None:
        """Delete what expired, and what is too much. Raises StoreError."""
        expired = select(answers.c.digest).where(answers.c.expires_at <= int(self._clock()))
        while await self._delete(expired, PURGE_AT_ONCE) == PURGE_AT_ONCE:
            pass  # a transaction each, so that others get their turn
        while (too_many := len(self._there) - self._most) > 0:
            oldest = select(answers.c.digest).order_by(answers.c.expires_at)
            if not await self._delete(oldest, min(too_many, PURGE_AT_ONCE)):
                return

    async def _delete(self, which: Select[tuple[bytes]], most: int) -> int:
        """Delete up to so many, and forget them; how many it were."""
        gone = delete(answers).where(answers.c.digest.in_(which.limit(most)))
        async with self._store.write() as connection:
            rows = await connection.execute(gone.returning(answers.c.digest))
            digests = [bytes(row.digest) for row in rows]
        self._there.difference_update(digests)
        return len(digests)


def _rows(waiting: _Waiting) -> list[tuple[bytes, bytes, int]]:
    # the question's digest is enough: the address itself is not kept
    return [
        (digest, encode(verification, with_address=False), expires_at)
        for digest, (verification, expires_at) in waiting.items()
    ]


def _upsert(rows: int) -> str:
    """One statement for many rows: with one for each, the driver passes the interpreter's lock
    to and fro between the event loop and itself for every row, which costs more than the rows."""
    return " ".join([_INSERT, ",".join(["(?,?,?)"] * rows), _OR_UPDATE])


_INSERT = "INSERT INTO answers (digest, answer, expires_at) VALUES"
_OR_UPDATE = (
    "ON CONFLICT (digest) DO UPDATE SET answer = excluded.answer, expires_at = excluded.expires_at"
)


def _digest(shares: str, address: Address, checks: Checks) -> bytes:
    flags = f"{checks.dns:d}{checks.smtp:d}{checks.catch_all:d}"
    text = "\n".join((shares, flags, address.normalized))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
