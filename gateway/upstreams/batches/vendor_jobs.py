"""Lists at upstreams: created once, polled politely, fetched, and made use of.

Whatever goes wrong, the addresses that there is no answer for are somebody else's to ask about.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.contract.upstream import (
    Fault,
    FaultKind,
    Pending,
    Told,
    UpstreamReply,
    UpstreamRequest,
)
from adapters.contract.upstream_jobs import MAX_LIST_BYTES, Page, UpstreamList
from engine.model import Address, Checks
from gateway.store import Conflict, StoreError
from gateway.upstreams.batches.records import Given, ListRecords, Piece, hash_of
from gateway.upstreams.routing.budgets import Budgets, Scope
from gateway.upstreams.source.circuit import Admission
from gateway.upstreams.source.source import AGAINST_THE_SOURCE, PERHAPS_BILLED, UpstreamSource

log = logging.getLogger(__name__)

LISTS_AT_ONCE = 4
"""Of one piece of work, where it is too large for one."""
CALL_TIMEOUT_S = 60.0
"""For one request; a create with many addresses, or a page of many rows, takes its time."""
GROWTH = 1.5
"""Of the pause between two polls."""
LOST_AFTER_S = 600.0
"""Without one good poll, a list is given up."""
NO_LISTS_FOR_S = 60.0
"""After a refused create, unless the upstream says how long; single questions go on."""
SLICE = 200
"""Rows taken at once, before others get their turn."""
LARGE_BYTES = 64 * 1024
"""A longer body is parsed beside the loop."""

PERHAPS_CREATED = PERHAPS_BILLED | {FaultKind.SERVER_ERROR}
"""Faults of a create after which the list may exist."""
PASSING = AGAINST_THE_SOURCE | {FaultKind.TOO_FAST, FaultKind.BUSY}
"""Faults of a poll after which the next may be answered."""

OnRow = Callable[[str, Told, float], None]
"""Takes an address as the vendor writes it, what it says of it, and Unix time in seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """What lists are made of, and who pays."""

    piece: Piece
    addresses: Sequence[Address]
    checks: Checks
    paying: tuple[Scope, ...]


class VendorLists:
    """Gives lists to upstreams. `clock` is Unix time, `monotonic` anything steady, in seconds."""

    def __init__(
        self,
        records: ListRecords,
        budgets: Budgets,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._records = records
        self._budgets = budgets
        self._clock = clock
        self._monotonic = monotonic
        self._rng = rng
        self._no_lists_until: dict[str, float] = {}

    async def ask(self, source: UpstreamSource, work: Work, on_row: OnRow) -> bool:
        """Give it the addresses, or go on with what it was given before; hear its rows.

        Comes back when no more rows are to be had; False if it is rather to be asked about
        them one by one. Raises StoreError.
        """
        api = source.place.dialect.upstream_list
        if api is None or source.list_from is None:
            return False
        earlier = await self._records.given(work.piece, source.name)
        if earlier.mine:
            # what is not in these may have been billed all the same: nothing more is created
            steps = [self._follow(source, api, given, work, on_row) for given in earlier.mine]
        elif source.out_of_use or source.ready_in_s > 0:
            return True
        elif earlier.lost or self._rests(source) or len(work.addresses) < source.list_from:
            return False
        else:
            size = source.list_size
            steps = [
                self._create_and_follow(
                    source,
                    api,
                    replace(work, addresses=work.addresses[start : start + size]),
                    start // size,
                    on_row,
                )
                for start in range(0, len(work.addresses), size)
            ]
        return all(await _some_at_once(steps))

    def _rests(self, source: UpstreamSource) -> bool:
        """Whether it took no list a moment ago."""
        return self._monotonic() < self._no_lists_until.get(source.name, 0.0)

    async def _create_and_follow(
        self, source: UpstreamSource, api: UpstreamList, work: Work, part: int, on_row: OnRow
    ) -> bool:
        given = await self._create(source, api, work, part)
        if isinstance(given, Given):
            return await self._follow(source, api, given, work, on_row)
        # it is away, and whoever comes next has a try; else it only takes no list now
        return given in AGAINST_THE_SOURCE or given in (FaultKind.DEAD_KEY, FaultKind.BANNED)

    async def _create(
        self, source: UpstreamSource, api: UpstreamList, work: Work, part: int
    ) -> Given | FaultKind:
        """The list, or why it was not created."""
        key = source.keys.pick()
        price = source.price * len(work.addresses)
        if key is None:
            return FaultKind.DEAD_KEY
        if not await self._budgets.reserve(work.paying, price):
            # there may be enough for some of them
            return FaultKind.NO_CREDITS
        spent, settled = False, True
        try:
            if source.admit() is Admission.NO:
                return FaultKind.UNREACHABLE
            settled = False
            try:
                given = await self._records.intend(work.piece, source.name, part, key.value)
            except Conflict:  # another piece of the same origin is at it
                return FaultKind.BUSY
            spent = True  # whoever is cancelled now does not know
            request = api.build_create(key.value, work.addresses)
            reply = await _send(source, request)
            created = reply if isinstance(reply, Fault) else api.parse_create(reply)
            if source.record is not None:
                fault = created if isinstance(created, Fault) else None
                job_id, kind = ("", fault.kind) if fault else (str(created), "created")
                source.record.of_list(key.value, job_id, work.addresses, request, reply, kind)
            source.settle(created if isinstance(created, Fault) else None)
            settled = True
            if isinstance(created, Fault):
                spent = created.kind in PERHAPS_BILLED
                if created.kind is FaultKind.DEAD_KEY:
                    source.keys.refused(key)
                await self._not_created(source, given, created)
                return created.kind
        finally:
            if not spent:
                self._budgets.give_back(work.paying, price)
            if not settled:
                source.circuit.left()
        extra = {"source": source.name, "addresses": len(work.addresses)}
        log.info("a list was given away", extra=extra)
        try:
            await self._records.created(given, created)
        except StoreError as exc:
            log.warning("a list's id is not noted", extra={"why": str(exc)})
        return replace(given, job_id=created)

    async def _not_created(self, source: UpstreamSource, given: Given, fault: Fault) -> None:
        extra = {"source": source.name, "why": fault.kind, "status": fault.status}
        log.warning("a list was not taken", extra=extra)
        pause_s = fault.retry_after_s or NO_LISTS_FOR_S
        self._no_lists_until[source.name] = self._monotonic() + pause_s
        if fault.kind in PERHAPS_CREATED:
            await self._records.lost(given)
        else:
            await self._records.forget(given)

    async def _follow(
        self, source: UpstreamSource, api: UpstreamList, given: Given, work: Work, on_row: OnRow
    ) -> bool:
        """Poll it and hear its rows; False if nobody knows whether it was created."""
        if given.job_id is None:
            return False
        keys = source.keys.keys
        # of the same account, if the one that created it is gone
        key = next((key for key in keys if hash_of(key.value) == given.key_hash), keys[0])
        following = _Following(source, api, key.value, given.job_id, work, on_row)
        why = await following.run(self._clock, self._rng, given.created_at + source.list_deadline_s)
        if why is not None:
            log.warning("a list was given up", extra={"source": source.name, "why": why})
        return True


async def _send(source: UpstreamSource, request: UpstreamRequest) -> UpstreamReply | Fault:
    return await source.call(request, CALL_TIMEOUT_S, MAX_LIST_BYTES)


async def _some_at_once(steps: Sequence[Coroutine[Any, Any, bool]]) -> list[bool]:
    """Do all of them, a few at a time; raises what the first that failed raised."""
    places = asyncio.Semaphore(LISTS_AT_ONCE)

    async def within(step: Coroutine[Any, Any, bool]) -> bool:
        async with places:
            return await step

    tasks = [asyncio.create_task(within(step)) for step in steps]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
    return [task.result() for task in tasks]


class _Following:
    """A list that exists, until its last row."""

    def __init__(
        self,
        source: UpstreamSource,
        api: UpstreamList,
        key: str,
        job_id: str,
        work: Work,
        on_row: OnRow,
    ) -> None:
        self._source = source
        self._api = api
        self._key = key
        self._job_id = job_id
        self._work = work
        self._on_row = on_row
        self._step = ""  # which page to fetch; none: poll
        self._rows = 0

    async def run(
        self, clock: Callable[[], float], rng: random.Random, give_up_at: float
    ) -> FaultKind | None:
        """Until the end; why it was given up, or None. `give_up_at` is Unix time in seconds."""
        pause_s = growing_s = self._api.first_poll_s
        heard_at = clock()
        asked_again = False
        while True:
            await asyncio.sleep(pause_s * rng.uniform(0.9, 1.2))
            found = await self._next()
            pause_s = growing_s = min(growing_s * GROWTH, self._api.max_poll_s)
            match found:
                case Page():
                    heard_at = clock()
                    self._step = found.next
                    if found.next:
                        pause_s = 0.0
                    elif asked_again or self._rows >= len(self._work.addresses):
                        return None
                    else:
                        # what is missing may be there a moment later
                        asked_again, self._rows = True, 0
                case Pending():
                    heard_at = clock()
                    self._step = ""
                case Fault():
                    if found.kind not in PASSING or clock() - heard_at > LOST_AFTER_S:
                        return found.kind
                    if found.kind is FaultKind.TOO_FAST and found.retry_after_s is None:
                        pause_s = max(pause_s, self._source.min_wait_s)
                    pause_s = max(pause_s, found.retry_after_s or 0.0)
            if clock() > give_up_at:
                return FaultKind.PENDING

    async def _next(self) -> Page | Pending | Fault:
        api, checks, step = self._api, self._work.checks, self._step
        if step:
            request = api.build_page(self._key, self._job_id, step)
        else:
            request = api.build_poll(self._key, self._job_id)
        reply = await _send(self._source, request)
        if isinstance(reply, Fault):
            return reply

        def parse() -> Page | Pending | Fault:
            return api.parse_page(checks, step, reply) if step else api.parse_poll(checks, reply)

        found = await asyncio.to_thread(parse) if len(reply.body) > LARGE_BYTES else parse()
        if self._source.record is not None:
            kind = found.kind if isinstance(found, Fault) else type(found).__name__.lower()
            self._source.record.of_list(
                self._key, self._job_id, self._work.addresses, request, reply, kind
            )
        if isinstance(found, Page):
            self._rows += len(found.rows)
            for place, (email, told) in enumerate(found.rows, start=1):
                self._on_row(email, told, reply.at)
                if place % SLICE == 0:
                    await asyncio.sleep(0)
        return found
