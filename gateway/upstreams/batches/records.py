"""Which pieces of work were given to upstreams as lists of their own, in the database.

A row is there before the list is created, so that a process which was killed in that moment
does not create it again: it may exist, and be billed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import ColumnElement, delete, select, update

from gateway.store import Store
from gateway.store.tables import vendor_lists


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of work of a batch, with all that was put off from it."""

    batch_id: int
    origin: int


@dataclass(frozen=True, slots=True)
class Given:
    """A list that was given to an upstream, or is about to be."""

    piece: Piece
    source: str
    part: int
    """Which of several, where the piece was too large for one."""
    key_hash: bytes
    created_at: float
    """Unix time in seconds."""
    job_id: str | None = None
    """None: it is being created, or nobody knows whether it was."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a source was given of a batch before."""

    mine: list[Given]
    """Of this piece of work."""
    lost: bool
    """Whether of any of its pieces nobody knows if it was created: a create that is billed and
    lost again and again would cost without end."""


CREATED_WITHIN_S = 120.0
"""A create takes no longer: then it was cut off."""


def hash_of(key: str) -> bytes:
    """What tells an upstream's keys apart; the key itself is kept nowhere."""
    return sha256(key.encode()).digest()[:8]


class ListRecords:
    """Every method may raise StoreError. `clock` is Unix time in seconds."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def given(self, piece: Piece, source: str) -> Earlier:
        """What the source was given of a batch."""
        columns = vendor_lists.c
        query = select(vendor_lists).where(
            columns.batch_id == piece.batch_id, columns.source == source
        )
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        lists = [
            Given(
                piece=Piece(row.batch_id, row.origin),
                source=source,
                part=row.part,
                key_hash=bytes(row.key_hash),
                created_at=row.created_at,
                job_id=row.job_id,
            )
            for row in rows
        ]
        long_ago = self._clock() - CREATED_WITHIN_S
        return Earlier(
            mine=[given for given in lists if given.piece == piece],
            lost=any(row.lost or (not row.job_id and row.created_at < long_ago) for row in rows),
        )

    async def intend(self, piece: Piece, source: str, part: int, key: str) -> Given:
        """A list is about to be created."""
        given = Given(piece, source, part, hash_of(key), self._clock())
        row = self._store.insert(vendor_lists).values(
            batch_id=piece.batch_id,
            origin=piece.origin,
            source=source,
            part=part,
            key_hash=given.key_hash,
            created_at=given.created_at,
            lost=False,
        )
        async with self._store.write() as connection:
            await connection.execute(row)
        return given

    async def created(self, given: Given, job_id: str) -> None:
        await self._change(given, job_id=job_id)

    async def lost(self, given: Given) -> None:
        """Nobody will ever know whether it was created."""
        await self._change(given, lost=True)

    async def forget(self, given: Given) -> None:
        """It was certainly not created."""
        async with self._store.write() as connection:
            await connection.execute(delete(vendor_lists).where(_is(given)))

    async def _change(self, given: Given, **values: object) -> None:
        async with self._store.write() as connection:
            await connection.execute(update(vendor_lists).where(_is(given)).values(values))


def _is(given: Given) -> ColumnElement[bool]:
    columns = vendor_lists.c
    return (
        (columns.batch_id == given.piece.batch_id)
        & (columns.origin == given.piece.origin)
        & (columns.source == given.source)
        & (columns.part == given.part)
    )
