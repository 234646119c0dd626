"""The worker: claims chunks of batches, has their addresses verified, writes the results.

Any number of workers may share one database. The load of one is bounded by the addresses in flight
and not by the chunks, so that a few slow mail hosts do not idle it. A batch without a chunk in
flight may exceed the bound, so that a small batch does not wait for the end of a large one, and an
account without one may exceed that of the chunks. Accounts take turns (`engine.turns`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from functools import partial

from engine.model import Verdict
from engine.turns import Turns, acting_for
from gateway.batches.chunk_work import ChunkWork, FindSample, log_fields
from gateway.batches.model import Claim, RowResult
from gateway.batches.ports import ChooseVerifier, ChunkQueue, ChunkVerifier, FindFilters, no_filters
from gateway.cluster.embedded import EmbeddedDispatch
from gateway.cluster.ports import Dispatch, TurnOutcome
from gateway.store import StoreAway, StoreError
from gateway.tasks import WorkLoop
from gateway.verdicts.cache import VerdictCache

log = logging.getLogger(__name__)

MAX_ADDRESSES_IN_FLIGHT = 8_000
"""With so many addresses in flight, no further chunk is claimed of a batch that has one in flight.
Half of it while one single verification is in flight, a third while two are, and so on."""
MAX_CHUNKS_IN_FLIGHT = 64
REMOTE_CHUNK_WEIGHT = 1 / 8
"""The weight in both bounds of a chunk that only waits for an upstream."""
WRITE_EVERY_S = 0.5
"""The longest that a result waits to be written."""
RENEW_EVERY_S = 5.0
"""Between two renewals of a lease, if no result is written."""
POLL_S = 1.0
"""Between two looks for chunks of other processes, and for leases that ran out."""
MIN_POLL_S = 0.01
HOLD_BACK_S = 0.05
"""For each chunk in flight, before the next is claimed, if siblings work on the same batches: that
with the least work claims next, and chunks are spread over the cores."""
STORE_ERROR_PAUSE_S = 2.0
"""After an error of the database."""
AWAY_LIMIT_S = 60.0
"""How long results wait for the database's server to come back; then they are asked for again."""
AWAY_PAUSE_S = 0.5


class Runner:
    """Works on one queue. `clock` is Unix time, `monotonic` a steady clock, in seconds."""

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
        on_results: Callable[[Iterable[Verdict]], None] = lambda _: None,
        find_sample: FindSample = lambda *_: None,
        dispatch: Dispatch | None = None,
        egresses: Collection[str] | None = None,
        find_filters: FindFilters = no_filters,
        has_siblings: bool = False,
    ) -> None:
        """`egresses` are those of this process; None: chunks of any egress are claimed.

        `retries_s` are the waits before each retry of an address that was refused for now.

        `on_chunk_finished` is called after the end of a chunk, which may be that of its batch;
        `on_results` with the verdicts of results that are stored.
        `has_siblings` says that other processes on this machine look for the same chunks.
        """
        self._has_siblings = has_siblings
        self._queue = queue
        self._choose_verifier = choose_verifier
        self._verdicts = verdicts
        self._holder = holder
        self._retries_s = tuple(retries_s)
        self._clock = clock
        self._monotonic = monotonic
        self._on_chunk_finished = on_chunk_finished
        self._on_results = on_results
        self._find_sample = find_sample
        self._find_filters = find_filters
        self._chunks_in_flight = 0.0
        self._addresses_in_flight = 0.0
        self._chunks_by_batch: Counter[int] = Counter()
        self._turns = Turns()
        self._loop = WorkLoop()
        self._dispatch = dispatch or EmbeddedDispatch()
        self._egresses = egresses
        self._turns_in_flight: set[asyncio.Task[TurnOutcome]] = set()
        self._room = asyncio.Event()
        """Set when the load has become less."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while inside; at the end, write the results there are and release the claims."""
        async with self._loop.running(self._run()):
            yield

    @contextlib.asynccontextmanager
    async def taking_turns(self) -> AsyncIterator[None]:
        """Allow `take_turn` while inside; at the end, write the results there are and release the
        claims."""
        async with self._loop.running(self._wait_for_turns()):
            yield

    async def _wait_for_turns(self) -> None:
        while not self._loop.stopping:
            await self._loop.pause(None)
        self._room.set()
        while self._turns_in_flight:
            await asyncio.wait(self._turns_in_flight)

    async def take_turn(self, holder: str, *, only_idle_batches: bool = False) -> TurnOutcome:
        """As in `gateway.cluster.ports.ChunkWorker`. It waits while the load is too high.

        A chunk that an upstream works on is not waited for.
        """
        claim = None
        while claim is None:
            if self._loop.stopping:
                return TurnOutcome.GIVEN_BACK
            claim = await self._claim_next(holder, only_idle_batches=only_idle_batches)
            if claim is None:
                if only_idle_batches or not self._is_full:
                    return TurnOutcome.NOTHING_DUE
                self._room.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._room.wait()
        chosen = self._choose(claim)
        self._adjust_load(claim, chosen, 1)
        with acting_for(claim.account_id):
            task = asyncio.create_task(self._process_accounted(claim, chosen))
        self._turns_in_flight.add(task)
        task.add_done_callback(self._turns_in_flight.discard)
        if chosen.is_remote:
            return TurnOutcome.WORKED
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise

    async def free_leases_of_dead(self) -> None:
        """Free the leases of holders that are not alive. Raises StoreError."""
        held = await self._queue.holders()
        if not held:
            return
        living = await self._dispatch.living()  # after the leases, so that no new holder is missed
        if living is not None and (dead := held - living):
            freed = await self._queue.free_dead_leases(lambda holder: holder in dead)
            if freed:
                log.info("chunk.leases_freed", extra={"chunks": freed})

    async def reconcile(self) -> None:
        """See that a turn waits for each chunk that is due. Raises StoreError."""
        missing = await self._queue.reconcile()
        if missing:
            log.info("chunk.turns_added", extra={"turns": missing})

    def wake(self) -> None:
        """Look for chunks now."""
        self._loop.wake()

    async def drain(self) -> None:
        """Process all chunks that are due, one after the other."""
        while (claim := await self._queue.claim(self._holder, self._turns)) is not None:
            self._turns.take(claim.account_id)
            try:
                await self._process(claim, self._choose(claim))
            finally:
                self._turns.give_back(claim.account_id)

    # -- claiming ------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while not self._loop.stopping:
                try:
                    while not self._loop.stopping and (
                        claim := await self._claim_next(self._holder)
                    ):
                        chosen = self._choose(claim)
                        self._adjust_load(claim, chosen, 1)
                        with acting_for(claim.account_id):
                            group.create_task(self._process_accounted(claim, chosen))
                        if self._has_siblings:
                            hold_back_s = HOLD_BACK_S * self._chunks_in_flight
                            await self._loop.wait_for_stop(hold_back_s)
                except StoreError as exc:
                    log.warning("claim.failed", extra={"error": str(exc)})
                    await self._loop.wait_for_stop(STORE_ERROR_PAUSE_S)
                await self._loop.pause(await self._poll_wait_s())

    async def _claim_next(self, holder: str, *, only_idle_batches: bool = False) -> Claim | None:
        """The next chunk, if the load allows one."""
        busy = tuple(self._chunks_by_batch) if self._is_full_of_addresses else ()
        return await self._queue.claim(
            holder,
            self._turns,
            skip_batches=busy,
            only_idle_accounts=self._chunks_in_flight >= MAX_CHUNKS_IN_FLIGHT,
            only_idle_batches=only_idle_batches,
            egresses=self._egresses,
        )

    @property
    def _is_full_of_addresses(self) -> bool:
        max_addresses = MAX_ADDRESSES_IN_FLIGHT // (1 + self._verdicts.in_flight)
        return self._addresses_in_flight >= max_addresses

    @property
    def _is_full(self) -> bool:
        """Whether some chunks that are due are not claimed."""
        return self._is_full_of_addresses or self._chunks_in_flight >= MAX_CHUNKS_IN_FLIGHT

    async def _poll_wait_s(self) -> float:
        if self._chunks_in_flight >= MAX_CHUNKS_IN_FLIGHT:
            return POLL_S
        try:
            due_at = await self._queue.next_due()
        except StoreError:
            return STORE_ERROR_PAUSE_S
        left_s = POLL_S if due_at is None else due_at - self._clock()
        return min(max(left_s, MIN_POLL_S), POLL_S)

    def _choose(self, claim: Claim) -> ChunkVerifier:
        return self._choose_verifier(claim, self._retry_after_s(claim) is not None)

    def _retry_after_s(self, claim: Claim) -> float | None:
        """The wait before addresses refused for now are tried again; None if they are not."""
        if not claim.retries or claim.attempt >= len(self._retries_s):
            return None
        return self._retries_s[claim.attempt]

    def _adjust_load(self, claim: Claim, chosen: ChunkVerifier, sign: int) -> None:
        """Add a chunk to the load, or take it off (-1)."""
        weight = REMOTE_CHUNK_WEIGHT if chosen.is_remote else 1.0
        self._chunks_in_flight += sign * weight
        self._addresses_in_flight += sign * weight * len(claim.items)
        if sign > 0:
            self._turns.take(claim.account_id)
        else:
            self._turns.give_back(claim.account_id)
        self._chunks_by_batch[claim.batch_id] += sign
        if not self._chunks_by_batch[claim.batch_id]:
            del self._chunks_by_batch[claim.batch_id]
        if sign < 0:
            self._room.set()

    # -- processing ----------------------------------------------------------------------

    async def _process_accounted(self, claim: Claim, chosen: ChunkVerifier) -> TurnOutcome:
        try:
            return await self._process(claim, chosen)
        except StoreError as exc:
            # The lease runs out, and rows that were not written are verified again.
            log.warning("chunk.write_failed", extra={**log_fields(claim), "error": str(exc)})
        except Exception:
            log.exception("chunk.failed", extra=log_fields(claim))
        finally:
            self._adjust_load(claim, chosen, -1)
            self.wake()
        return TurnOutcome.FAILED

    async def _process(self, claim: Claim, chosen: ChunkVerifier) -> TurnOutcome:
        """Prepare a batch, or verify a chunk and write its results as they come."""
        if claim.is_preparation:
            is_prepared = await self._queue.prepare_batch(claim)
            self.wake()
            return TurnOutcome.WORKED if is_prepared else TurnOutcome.LOST
        work = ChunkWork(
            claim,
            chosen,
            self._verdicts,
            retry_after_s=self._retry_after_s(claim),
            clock=self._clock,
            find_sample=self._find_sample,
            filters=await self._find_filters(claim),
        )
        verifying = asyncio.create_task(work.verify())
        try:
            outcome = await self._write_until_done(claim, work, verifying)
            if outcome is TurnOutcome.WORKED and not await self._finish(claim, work):
                outcome = TurnOutcome.LOST
        finally:
            verifying.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await verifying
        if outcome is TurnOutcome.LOST:
            log.warning("chunk.lease_lost", extra=log_fields(claim))
        return outcome

    async def _write_until_done(
        self, claim: Claim, work: ChunkWork, verifying: asyncio.Task[None]
    ) -> TurnOutcome:
        """Write results and renew the lease until all rows are verified.

        Anything but `WORKED` if the worker stops or the lease is lost. Raises what `verifying`
        raises.
        """
        renewed_at = self._monotonic()
        while not verifying.done():
            await self._loop.wait_for(verifying, WRITE_EVERY_S)
            if self._loop.stopping:
                return await self._release(claim, work)
            must_renew = self._monotonic() - renewed_at >= RENEW_EVERY_S
            if verifying.done() or not (work.has_results or must_renew):
                continue
            renewed_at = self._monotonic()
            results = work.take_results()
            if not await self._until_answered(partial(self._queue.write_results, claim, results)):
                return TurnOutcome.LOST
            self._report(results)
        verifying.result()
        return TurnOutcome.WORKED

    async def _finish(self, claim: Claim, work: ChunkWork) -> bool:
        """False if the lease is lost."""
        results, postponed = work.take_results(), work.postponed()
        finish = partial(self._queue.finish_chunk, claim, results, postponed)
        is_done = await self._until_answered(finish)
        if is_done:
            self._report(results)
            self._on_chunk_finished()
        return is_done

    def _report(self, results: Sequence[RowResult]) -> None:
        self._on_results(result.verification.verdict for result in results)

    async def _until_answered(self, write: Callable[[], Awaitable[bool]]) -> bool:
        """Write; while the database's server is away, again and again, as long as another worker
        could not have claimed the chunk for long. Raises StoreError."""
        give_up_at = self._monotonic() + AWAY_LIMIT_S
        while True:
            try:
                return await write()
            except StoreAway:
                if self._loop.stopping or self._monotonic() >= give_up_at:
                    raise
            await self._loop.wait_for_stop(AWAY_PAUSE_S)

    async def _release(self, claim: Claim, work: ChunkWork) -> TurnOutcome:
        """Write the results there are, and leave the other rows to the next worker."""
        results = work.take_results()
        if not await self._queue.write_results(claim, results):
            return TurnOutcome.LOST
        self._report(results)
        await self._queue.release(claim)
        return TurnOutcome.RELEASED
