"""Which pieces of work were given to upstreams as lists of their own, in the database.

A row is there before the list is created, so that a process which was killed in that moment
does not create it again: it may exist, and be billed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import ColumnElement, delete, select, update

from engine.model import Address, Checks
from gateway.store import Store
from gateway.store.tables import vendor_lists
from gateway.upstreams.routing.budgets import SpendingScope


@dataclass(frozen=True, slots=True)
class OriginChunk:
    """A piece of work of a batch, with all that was put off from it."""

    batch_id: int
    origin: int


@dataclass(frozen=True, slots=True)
class VendorJobInput:
    """What jobs are made of, and who pays."""

    origin_chunk: OriginChunk
    addresses: Sequence[Address]
    checks: Checks
    scopes: tuple[SpendingScope, ...]


@dataclass(frozen=True, slots=True)
class VendorJob:
    """A list that was given to an upstream, or is about to be."""

    origin_chunk: OriginChunk
    source: str
    part_number: int
    """Which of several, where the piece was too large for one."""
    key_hash: bytes
    created_at: float
    """Unix time in seconds."""
    job_id: str | None = None
    """None: it is being created, or nobody knows whether it was."""


@dataclass(frozen=True, slots=True)
class EarlierVendorJobs:
    """What a source was given of a batch before."""

    of_this_chunk: list[VendorJob]
    """Of this piece of work."""
    any_lost: bool
    """Whether of any of its pieces nobody knows if it was created: a create that is billed and
    lost again and again would cost without end."""


CREATE_TIMEOUT_S = 120.0
"""A create takes no longer: then it was cut off."""


def hash_key(key: str) -> bytes:
    """What tells an upstream's keys apart; the key itself is kept nowhere."""
    return sha256(key.encode()).digest()[:8]


class VendorJobRecords:
    """Every method may raise StoreError. `clock` is Unix time in seconds."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def find_earlier(self, origin_chunk: OriginChunk, source: str) -> EarlierVendorJobs:
        """What the source was given of a batch."""
        columns = vendor_lists.c
        query = select(vendor_lists).where(
            columns.batch_id == origin_chunk.batch_id, columns.source == source
        )
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        lists = [
            VendorJob(
                origin_chunk=OriginChunk(row.batch_id, row.origin),
                source=source,
                part_number=row.part,
                key_hash=bytes(row.key_hash),
                created_at=row.created_at,
                job_id=row.job_id,
            )
            for row in rows
        ]
        long_ago = self._clock() - CREATE_TIMEOUT_S
        return EarlierVendorJobs(
            of_this_chunk=[given for given in lists if given.origin_chunk == origin_chunk],
            any_lost=any(
                row.lost or (not row.job_id and row.created_at < long_ago) for row in rows
            ),
        )

    async def insert_pending(
        self, origin_chunk: OriginChunk, source: str, part: int, key: str
    ) -> VendorJob:
        """A list is about to be created."""
        given = VendorJob(origin_chunk, source, part, hash_key(key), self._clock())
        row = self._store.insert(vendor_lists).values(
            batch_id=origin_chunk.batch_id,
            origin=origin_chunk.origin,
            source=source,
            part=part,
            key_hash=given.key_hash,
            created_at=given.created_at,
            lost=False,
        )
        async with self._store.write() as connection:
            await connection.execute(row)
        return given

    async def set_job_id(self, job: VendorJob, job_id: str) -> None:
        await self._update(job, job_id=job_id)

    async def mark_lost(self, job: VendorJob) -> None:
        """Nobody will ever know whether it was created."""
        await self._update(job, lost=True)

    async def delete_job(self, job: VendorJob) -> None:
        """It was certainly not created."""
        async with self._store.write() as connection:
            await connection.execute(delete(vendor_lists).where(_is_job(job)))

    async def _update(self, job: VendorJob, **values: object) -> None:
        async with self._store.write() as connection:
            await connection.execute(update(vendor_lists).where(_is_job(job)).values(values))


def _is_job(job: VendorJob) -> ColumnElement[bool]:
    columns = vendor_lists.c
    return (
        (columns.batch_id == job.origin_chunk.batch_id)
        & (columns.origin == job.origin_chunk.origin)
        & (columns.source == job.source)
        & (columns.part == job.part_number)
    )
