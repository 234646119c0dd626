"""The database's records of vendor jobs, by the chunk that each was made of.

A record is written before its job is created. If the process is killed in between, the job may
exist and be billed, so it is not created again.
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
    """A chunk of a batch together with the chunks that were put off from it."""

    batch_id: int
    origin: int


@dataclass(frozen=True, slots=True)
class VendorJobInput:
    """The addresses of vendor jobs, and the budgets that pay for them."""

    origin_chunk: OriginChunk
    addresses: Sequence[Address]
    checks: Checks
    scopes: tuple[SpendingScope, ...]
    retries: bool = True
    """Whether the client wants greylisted addresses to be verified again."""


@dataclass(frozen=True, slots=True)
class VendorJob:
    """A job at a vendor, or one that is being created."""

    origin_chunk: OriginChunk
    source: str
    part_number: int
    """Its number among the jobs of a chunk that is too large for one."""
    key_hash: bytes
    created_at: float
    """Unix time in seconds."""
    job_id: str | None = None
    """None while it is created, and if it is unknown whether it was."""


@dataclass(frozen=True, slots=True)
class EarlierVendorJobs:
    """The jobs that a source was given for a batch before."""

    of_this_chunk: list[VendorJob]
    any_lost: bool
    """Whether it is unknown of any job of the batch if it was created. No further job is then
    created: one that is billed and lost each time would cost without end."""


CREATE_TIMEOUT_S = 120.0
"""A create that has no job id after so long was cut off."""


def hash_key(key: str) -> bytes:
    """Tells an upstream's keys apart; the key itself is not stored."""
    return sha256(key.encode()).digest()[:8]


class VendorJobRecords:
    """Every method may raise StoreError. `clock` is Unix time in seconds."""

    def __init__(self, store: Store, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock

    async def find_earlier(self, origin_chunk: OriginChunk, source: str) -> EarlierVendorJobs:
        """The jobs of a source for the batch of a chunk."""
        columns = vendor_lists.c
        query = select(vendor_lists).where(
            columns.batch_id == origin_chunk.batch_id, columns.source == source
        )
        async with self._store.read() as connection:
            rows = (await connection.execute(query)).all()
        jobs = [
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
        cut_off_before = self._clock() - CREATE_TIMEOUT_S
        return EarlierVendorJobs(
            of_this_chunk=[job for job in jobs if job.origin_chunk == origin_chunk],
            any_lost=any(
                row.lost or (not row.job_id and row.created_at < cut_off_before) for row in rows
            ),
        )

    async def insert_pending(
        self, origin_chunk: OriginChunk, source: str, part: int, key: str
    ) -> VendorJob:
        """Record a job that is about to be created. Raises StoreConflict if there is a record."""
        job = VendorJob(origin_chunk, source, part, hash_key(key), self._clock())
        row = self._store.insert(vendor_lists).values(
            batch_id=origin_chunk.batch_id,
            origin=origin_chunk.origin,
            source=source,
            part=part,
            key_hash=job.key_hash,
            created_at=job.created_at,
            lost=False,
        )
        async with self._store.write() as connection:
            await connection.execute(row)
        return job

    async def set_job_id(self, job: VendorJob, job_id: str) -> None:
        await self._update(job, job_id=job_id)

    async def mark_lost(self, job: VendorJob) -> None:
        """It will remain unknown whether the job was created."""
        await self._update(job, lost=True)

    async def delete_job(self, job: VendorJob) -> None:
        """Forget a job that was not created."""
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
