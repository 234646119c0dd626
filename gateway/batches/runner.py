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
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from engine.address import syntax
from engine.model import Address, Checks, Evidence, Reason, Verdict, Verification
from gateway.batches.model import Answered, Claim, Item, PutOff
from gateway.batches.ports import Choose, Chosen, Queue
from gateway.errors import NOBODY
from gateway.store import StoreError
from gateway.verdicts.cache import Verdicts
from gateway.verdicts.owners import named
from gateway.verdicts.verifier import NotNow

log = logging.getLogger(__name__)

MOST_ADDRESSES = 8_000
"""Under way, before no further piece is claimed of a batch that has one under way. So many while
nobody waits for a single verification; half of it beside one, a third beside two, and so on."""
MOST_PIECES = 64
"""Under way at all."""
WAITING_SHARE = 1 / 8
"""Of a piece of work that waits for somebody else to do it, in these two bounds."""
WRITE_EVERY_S = 0.5
"""How long an answer may wait to be written."""
RENEW_EVERY_S = 5.0
POLL_S = 1.0
"""How often other processes' work and leases that ran out are looked for."""
PAUSE_S = 2.0
"""After the database failed."""
AT_HAND = 1_000
"""Rows of a batch whose answers are kept in memory, for whoever asks next."""
TRIES = 3
"""For an address that the verifier fails at, before that is its answer."""
MOST_WAIT_S = 300.0
"""Until it is looked again whether somebody can answer."""
WAITS_FOR_S = 86_400.0
"""How long after its begin a batch waits for somebody who can answer."""


class Runner:
    """Works on the batches of one queue."""

    def __init__(
        self,
        queue: Queue,
        choose: Choose,
        verdicts: Verdicts,
        *,
        holder: str,
        retries_s: Sequence[float],
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        """`choose` says who answers a piece of work; `retries_s` are the waits before each retry
        of a greylisted address.

        `finished` is called when a piece of work is done, which may have ended a batch.
        """
        self._queue = queue
        self._choose = choose
        self._verdicts = verdicts
        self._holder = holder
        self._retries_s = tuple(retries_s)
        self._clock = clock
        self._monotonic = monotonic
        self._finished = finished
        self._load = 0.0
        self._addresses = 0.0
        self._pieces: Counter[int] = Counter()
        self._wake = asyncio.Event()
        self._stopped: asyncio.Future[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work while inside; on leaving, write what is known and give the rest back."""
        self._stopped = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._run(self._stopped))
        try:
            yield
        finally:
            self._stopped.set_result(None)
            self._wake.set()
            await task

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def drain(self) -> None:
        """Do everything that is due, one piece after the other."""
        while (claim := await self._queue.claim(self._holder)) is not None:
            await self._work(claim, self._choose(claim, self._may_retry(claim)))

    # -- claiming ------------------------------------------------------------------------

    async def _run(self, stopped: asyncio.Future[None]) -> None:
        async with asyncio.TaskGroup() as group:
            while not stopped.done():
                self._wake.clear()
                try:
                    while not stopped.done() and (claim := await self._next()) is not None:
                        chosen = self._choose(claim, self._may_retry(claim))
                        self._take_on(claim, chosen, 1)
                        group.create_task(self._accounted(claim, chosen))
                except StoreError as exc:
                    log.warning("no work can be claimed", extra={"why": str(exc)})
                    await asyncio.wait({stopped}, timeout=PAUSE_S)
                patience_s = await self._patience_s()
                if stopped.done():
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience_s):
                        await self._wake.wait()

    async def _next(self) -> Claim | None:
        if self._load >= MOST_PIECES:
            return None
        most = MOST_ADDRESSES // (1 + self._verdicts.in_flight)
        busy = tuple(self._pieces) if self._addresses >= most else ()
        return await self._queue.claim(self._holder, only_idle=busy)

    async def _patience_s(self) -> float:
        try:
            due_at = await self._queue.next_due()
        except StoreError:
            return PAUSE_S
        left_s = POLL_S if due_at is None else due_at - self._clock()
        return min(max(left_s, 0.01), POLL_S) if self._load < MOST_PIECES else POLL_S

    def _take_on(self, claim: Claim, chosen: Chosen, sign: int) -> None:
        """Count a piece of work, or count it off (-1)."""
        share = WAITING_SHARE if chosen.waits else 1.0
        self._load += sign * share
        self._addresses += sign * share * len(claim.items)
        self._pieces[claim.batch_id] += sign
        if not self._pieces[claim.batch_id]:
            del self._pieces[claim.batch_id]

    async def _accounted(self, claim: Claim, chosen: Chosen) -> None:
        try:
            await self._work(claim, chosen)
        except StoreError as exc:
            # the lease runs out, and what was not written is done anew
            log.warning(
                "answers of a batch could not be written",
                extra={"batch": claim.batch_id, "why": str(exc)},
            )
        except Exception:
            log.exception("a piece of a batch failed", extra={"batch": claim.batch_id})
        finally:
            self._take_on(claim, chosen, -1)
            self._wake.set()

    # -- working -------------------------------------------------------------------------

    async def _work(self, claim: Claim, chosen: Chosen) -> None:
        if claim.prepares:
            await self._queue.prepare(claim)
            self.wake()
            return
        work = _Work(claim, chosen)
        verifying = asyncio.create_task(self._verify(work))
        renewed_at = self._monotonic()
        ends: set[asyncio.Future[None]] = {verifying}
        if self._stopped is not None:
            ends.add(self._stopped)
        try:
            while not verifying.done():
                await asyncio.wait(ends, timeout=WRITE_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if self._stopped is not None and self._stopped.done():
                    await self._give_back(claim, work)
                    return
                due = self._monotonic() - renewed_at >= RENEW_EVERY_S
                if verifying.done() or not (work.answers or due):
                    continue
                renewed_at = self._monotonic()
                if not await self._queue.record(claim, work.take()):
                    return
            verifying.result()
            put_off = self._put_off(work)
            if not await self._queue.finish(claim, work.take(), put_off):
                log.warning("a lease ran out", extra={"batch": claim.batch_id})
                return
            self._finished()
        finally:
            verifying.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await verifying

    async def _give_back(self, claim: Claim, work: _Work) -> None:
        """On the way out: keep what is known, let others do the rest."""
        if await self._queue.record(claim, work.take()):
            await self._queue.release(claim)

    async def _verify(self, work: _Work) -> None:
        claim = work.claim
        todo = await self._same_addresses(work)
        for _ in range(TRIES):
            if not todo:
                return
            texts = [items[0].email for items in todo]
            answered: set[int] = set()

            def on_result(
                place: int,
                found: Verification,
                groups: Sequence[list[Item]] = todo,
                answered: set[int] = answered,
            ) -> None:
                answered.add(place)
                self._heard(work, groups[place], found)

            wait_s = None
            try:
                await work.by.verifier.verify_many(texts, claim.checks, on_result=on_result)
            except NotNow as later:
                wait_s = min(later.after_s, MOST_WAIT_S)
            except StoreError:
                raise
            except Exception:
                log.exception("a verifier failed", extra={"batch": claim.batch_id})
            todo = [items for place, items in enumerate(todo) if place not in answered]
            if wait_s is not None and self._clock() < claim.begun_at + WAITS_FOR_S:
                work.wait_for_somebody(todo, wait_s)
                return
        for items in todo:
            for item in items:
                work.answer(item, self._unexpected(item, claim.checks))

    async def _same_addresses(self, work: _Work) -> list[list[Item]]:
        """Items that are the same address, less those whose answer is known."""
        groups: dict[str, list[tuple[Item, Address]]] = {}
        for item in work.claim.items:
            address = syntax.parse(item.email)
            groups.setdefault(address.normalized, []).append((item, address))
        addresses = [same[0][1] for same in groups.values()]
        known = await self._verdicts.recall(addresses, work.claim.checks, work.by.shares)
        todo = []
        for normalized, same in groups.items():
            if normalized not in known:
                todo.append([item for item, _ in same])
                continue
            for item, address in same:
                work.answer(item, replace(known[normalized], address=address))
        return todo

    def _heard(self, work: _Work, items: Sequence[Item], found: Verification) -> None:
        if found.evidence.transcript:
            found = replace(found, evidence=replace(found.evidence, transcript=()))
        if found.reason is Reason.GREYLISTED and self._may_retry(work.claim):
            work.greylisted.extend(item.position for item in items)
            return
        if at_hand := work.claim.rows <= AT_HAND:
            found = named(found)
        if found.source != NOBODY:
            self._verdicts.keep(found, work.by.shares, at_hand=at_hand)
        for item in items:
            if item.email == found.address.raw:
                work.answer(item, found)
            else:
                work.answer(item, replace(found, address=syntax.parse(item.email)))

    def _may_retry(self, claim: Claim) -> bool:
        return claim.retries and claim.attempt < len(self._retries_s)

    def _put_off(self, work: _Work) -> list[PutOff]:
        now, attempt = self._clock(), work.claim.attempt
        later = []
        if work.greylisted:
            due_at = now + self._retries_s[attempt]
            later.append(PutOff(tuple(work.greylisted), due_at, attempt + 1))
        if work.waiting:
            later.append(PutOff(tuple(work.waiting), now + work.wait_s, attempt))
        return later

    def _unexpected(self, item: Item, checks: Checks) -> Verification:
        return Verification(
            address=syntax.parse(item.email),
            verdict=Verdict.UNKNOWN,
            reason=Reason.UNEXPECTED_ERROR,
            score=0,
            evidence=Evidence(),
            checks=checks,
            verified_at=datetime.fromtimestamp(self._clock(), UTC),
        )


class _Work:
    """A claim, and what is known of it that is not written yet."""

    def __init__(self, claim: Claim, by: Chosen) -> None:
        self.claim = claim
        self.by = by
        self.answers: list[Answered] = []
        self.greylisted: list[int] = []
        self.waiting: list[int] = []
        """Rows that nobody can answer now."""
        self.wait_s = 0.0

    def answer(self, item: Item, verification: Verification) -> None:
        self.answers.append(Answered(item.position, verification))

    def wait_for_somebody(self, items: Sequence[list[Item]], wait_s: float) -> None:
        self.waiting = [item.position for same in items for item in same]
        self.wait_s = wait_s

    def take(self) -> list[Answered]:
        answers, self.answers = self.answers, []
        return answers
