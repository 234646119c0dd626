"""The worker: claims pieces of work, verifies their addresses, writes what comes of it.

Any number may work on one database. How much one takes on is bounded by the addresses under
way, not by the pieces, so that a few slow mail hosts do not idle it; a batch that has nothing
under way may go over the bound, so that a small one does not wait for the end of a large one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

from engine.address import syntax
from engine.model import Address, Checks, Reason, Verification
from engine.verification import unknown_verification
from gateway.batches.model import Claim, Postponed, RowResult
from gateway.batches.ports import ChooseVerifier, ChunkQueue, ChunkVerifier
from gateway.errors import NO_SOURCE
from gateway.store import StoreError
from gateway.tasks import WorkLoop
from gateway.verdicts.cache import VerdictCache
from gateway.verdicts.owners import with_guessed_person
from gateway.verdicts.verifier import RetryLater

log = logging.getLogger(__name__)

MAX_ADDRESSES_IN_FLIGHT = 8_000
"""Under way, before no further piece is claimed of a batch that has one under way. So many while
nobody waits for a single verification; half of it beside one, a third beside two, and so on."""
MAX_CHUNKS_IN_FLIGHT = 64
"""Under way at all."""
REMOTE_CHUNK_WEIGHT = 1 / 8
"""Of a piece of work that waits for somebody else to do it, in these two bounds."""
WRITE_EVERY_S = 0.5
"""How long an answer may wait to be written."""
RENEW_EVERY_S = 5.0
POLL_S = 1.0
"""How often other processes' work and leases that ran out are looked for."""
STORE_ERROR_PAUSE_S = 2.0
"""After the database failed."""
MAX_ROWS_CACHED_IN_MEMORY = 1_000
"""Rows of a batch whose answers are kept in memory, for whoever asks next."""
MAX_ATTEMPTS = 3
"""For an address that the verifier fails at, before that is its answer."""
MAX_RETRY_WAIT_S = 300.0
"""Until it is looked again whether somebody can answer."""
SOURCE_WAIT_LIMIT_S = 86_400.0
"""How long after its begin a batch waits for somebody who can answer."""


class Runner:
    """Works on the batches of one queue."""

    def __init__(
        self,
        queue: ChunkQueue,
        choose_verifier: ChooseVerifier,
        verdicts: VerdictCache,
        *,
        holder: str,
        retries_s: Sequence[float],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        on_chunk_finished: Callable[[], None] = lambda: None,
    ) -> None:
        """`choose` says who answers a piece of work; `retries_s` are the waits before each retry
        of a greylisted address.

        `finished` is called when a piece of work is done, which may have ended a batch.
        """
        self._queue = queue
        self._choose_verifier = choose_verifier
        self._verdicts = verdicts
        self._holder = holder
        self._retries_s = tuple(retries_s)
        self._clock = clock
        self._monotonic = monotonic
        self._on_chunk_finished = on_chunk_finished
        self._chunks_in_flight = 0.0
        self._addresses_in_flight = 0.0
        self._chunks_by_batch: Counter[int] = Counter()
        self._loop = WorkLoop()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while inside; on leaving, write what is known and give the rest back."""
        async with self._loop.running(self._run()):
            yield

    def wake(self) -> None:
        """There may be something to do."""
        self._loop.wake()

    async def drain(self) -> None:
        """Do everything that is due, one piece after the other."""
        while (claim := await self._queue.claim(self._holder)) is not None:
            await self._process(claim, self._choose_verifier(claim, self._may_retry(claim)))

    # -- claiming ------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._loop.stopping:
                try:
                    while not self._loop.stopping and (claim := await self._claim_next()):
                        chosen = self._choose_verifier(claim, self._may_retry(claim))
                        self._adjust_load(claim, chosen, 1)
                        group.create_task(self._process_accounted(claim, chosen))
                except StoreError as exc:
                    log.warning("claim.failed", extra={"error": str(exc)})
                    await self._loop.wait_for_stop(STORE_ERROR_PAUSE_S)
                await self._loop.pause(await self._poll_wait_s())

    async def _claim_next(self) -> Claim | None:
        if self._chunks_in_flight >= MAX_CHUNKS_IN_FLIGHT:
            return None
        most = MAX_ADDRESSES_IN_FLIGHT // (1 + self._verdicts.in_flight)
        busy = tuple(self._chunks_by_batch) if self._addresses_in_flight >= most else ()
        return await self._queue.claim(self._holder, skip_batches=busy)

    async def _poll_wait_s(self) -> float:
        try:
            due_at = await self._queue.next_due()
        except StoreError:
            return STORE_ERROR_PAUSE_S
        left_s = POLL_S if due_at is None else due_at - self._clock()
        return (
            min(max(left_s, 0.01), POLL_S)
            if self._chunks_in_flight < MAX_CHUNKS_IN_FLIGHT
            else POLL_S
        )

    def _adjust_load(self, claim: Claim, chosen: ChunkVerifier, sign: int) -> None:
        """Count a piece of work, or count it off (-1)."""
        share = REMOTE_CHUNK_WEIGHT if chosen.is_remote else 1.0
        self._chunks_in_flight += sign * share
        self._addresses_in_flight += sign * share * len(claim.items)
        self._chunks_by_batch[claim.batch_id] += sign
        if not self._chunks_by_batch[claim.batch_id]:
            del self._chunks_by_batch[claim.batch_id]

    async def _process_accounted(self, claim: Claim, chosen: ChunkVerifier) -> None:
        try:
            await self._process(claim, chosen)
        except StoreError as exc:
            # the lease runs out, and what was not written is done anew
            log.warning("chunk.write_failed", extra={**_log_fields(claim), "error": str(exc)})
        except Exception:
            log.exception("chunk.failed", extra=_log_fields(claim))
        finally:
            self._adjust_load(claim, chosen, -1)
            self.wake()

    # -- working -------------------------------------------------------------------------

    async def _process(self, claim: Claim, chosen: ChunkVerifier) -> None:
        if claim.is_preparation:
            await self._queue.prepare_batch(claim)
            self.wake()
            return
        work = _ClaimProgress(claim, chosen)
        verifying = asyncio.create_task(self._verify(work))
        renewed_at = self._monotonic()
        try:
            while not verifying.done():
                await self._loop.wait_for(verifying, WRITE_EVERY_S)
                if self._loop.stopping:
                    await self._release(claim, work)
                    return
                due = self._monotonic() - renewed_at >= RENEW_EVERY_S
                if verifying.done() or not (work.results or due):
                    continue
                renewed_at = self._monotonic()
                if not await self._queue.write_results(claim, work.take_results()):
                    return
            verifying.result()
            put_off = self._postponed(work)
            if not await self._queue.finish_chunk(claim, work.take_results(), put_off):
                log.warning("chunk.lease_lost", extra=_log_fields(claim))
                return
            self._on_chunk_finished()
        finally:
            verifying.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await verifying

    async def _release(self, claim: Claim, work: _ClaimProgress) -> None:
        """On the way out: keep what is known, let others do the rest."""
        if await self._queue.write_results(claim, work.take_results()):
            await self._queue.release(claim)

    async def _verify(self, work: _ClaimProgress) -> None:
        claim = work.claim
        todo = await self._group_by_address(work)
        for _ in range(MAX_ATTEMPTS):
            if not todo:
                return
            wait_s = None
            try:
                await self._verify_once(work, todo)
            except RetryLater as later:
                wait_s = min(later.retry_after_s, MAX_RETRY_WAIT_S)
            except StoreError:
                raise
            except Exception:
                log.exception("chunk.verifier_failed", extra=_log_fields(claim))
            if wait_s is not None and self._clock() < claim.started_at + SOURCE_WAIT_LIMIT_S:
                work.postpone(chain.from_iterable(todo.values()), wait_s)
                return
        for row in chain.from_iterable(todo.values()):
            work.add_result(row, self._unexpected_error(row.address, claim.checks))

    async def _verify_once(self, work: _ClaimProgress, todo: dict[Address, list[_Row]]) -> None:
        """Verify each address of `todo`, and take those with a result out of it."""
        verifier = work.chunk_verifier.verifier
        stream = verifier.verify_many(tuple(todo), work.claim.checks)
        async with contextlib.aclosing(stream) as results:
            async for address, verification in results:
                self._on_verification(work, todo.pop(address), verification)

    async def _group_by_address(self, work: _ClaimProgress) -> dict[Address, list[_Row]]:
        """Rows with the same address, without those whose answer is known."""
        groups: dict[str, list[_Row]] = {}
        for item in work.claim.items:
            address = syntax.parse_address(item.email)
            groups.setdefault(address.normalized, []).append(_Row(item.position, address))
        addresses = [same[0].address for same in groups.values()]
        known = await self._verdicts.get_many(
            addresses, work.claim.checks, work.chunk_verifier.cache_partition
        )
        todo = {}
        for normalized, same in groups.items():
            if normalized not in known:
                todo[same[0].address] = same
                continue
            for row in same:
                work.add_result(row, known[normalized].for_address(row.address))
        return todo

    def _on_verification(
        self, work: _ClaimProgress, rows: Sequence[_Row], found: Verification
    ) -> None:
        if found.reason is Reason.GREYLISTED and self._may_retry(work.claim):
            work.greylisted_positions.extend(row.position for row in rows)
            return
        if at_hand := work.claim.batch_rows <= MAX_ROWS_CACHED_IN_MEMORY:
            found = with_guessed_person(found)
        if found.source != NO_SOURCE:
            self._verdicts.put(found, work.chunk_verifier.cache_partition, in_memory=at_hand)
        for row in rows:
            work.add_result(row, found.for_address(row.address))

    def _may_retry(self, claim: Claim) -> bool:
        return claim.retries and claim.attempt < len(self._retries_s)

    def _postponed(self, work: _ClaimProgress) -> list[Postponed]:
        now, attempt = self._clock(), work.claim.attempt
        later = []
        if work.greylisted_positions:
            due_at = now + self._retries_s[attempt]
            later.append(Postponed(tuple(work.greylisted_positions), due_at, attempt + 1))
        if work.postponed_positions:
            later.append(Postponed(tuple(work.postponed_positions), now + work.wait_s, attempt))
        return later

    def _unexpected_error(self, address: Address, checks: Checks) -> Verification:
        verified_at = datetime.fromtimestamp(self._clock(), UTC)
        return unknown_verification(address, checks, verified_at=verified_at, source=NO_SOURCE)


def _log_fields(claim: Claim) -> dict[str, int]:
    return {"batch": claim.batch_id, "chunk": claim.chunk_number}


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a batch with its address parsed."""

    position: int
    address: Address


class _ClaimProgress:
    """A claim, and what is known of it that is not written yet."""

    def __init__(self, claim: Claim, chunk_verifier: ChunkVerifier) -> None:
        self.claim = claim
        self.chunk_verifier = chunk_verifier
        self.results: list[RowResult] = []
        self.greylisted_positions: list[int] = []
        self.postponed_positions: list[int] = []
        """Rows that nobody can answer now."""
        self.wait_s = 0.0

    def add_result(self, row: _Row, verification: Verification) -> None:
        self.results.append(RowResult(row.position, verification))

    def postpone(self, rows: Iterable[_Row], wait_s: float) -> None:
        self.postponed_positions = [row.position for row in rows]
        self.wait_s = wait_s

    def take_results(self) -> list[RowResult]:
        answers, self.results = self.results, []
        return answers
