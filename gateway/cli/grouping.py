"""Verifies addresses one by one while they are few, and as lists once they are many."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import aclosing
from typing import TYPE_CHECKING

from engine.model import Address, Checks, Reason, Verification
from gateway.cli.stream import cancel_all
from gateway.verdicts.owners import with_guessed_person

if TYPE_CHECKING:
    from engine.probe import ProbeEngine

LIST_SIZE = 100
"""With so many addresses in flight, further ones are verified as lists."""
LIST_DELAY_S = 0.05
"""For so long addresses are collected for the next list."""
CONCURRENT_SINGLES = 64
"""Addresses that are verified one by one at a time."""

_Waiting = defaultdict[Address, list[asyncio.Future[Verification]]]


class GroupingVerifier:
    """Turns verifications of single addresses into lists. Use it as a context manager.

    A list is several times as fast as its addresses one by one, but its verifications have no
    transcript. A greylisted address of a list, or one whose control address was, is verified again
    by itself, since the engine waits for it only then.
    """

    def __init__(self, engine: ProbeEngine, checks: Checks, deadline_s: float | None) -> None:
        """`deadline_s` is that of each address; lists have none, so it excludes them."""
        self._engine = engine
        self._checks = checks
        self._deadline_s = deadline_s
        self._in_flight = 0
        self._makes_lists = False
        self._slots = asyncio.Semaphore(CONCURRENT_SINGLES)
        self._next_list: _Waiting = defaultdict(list)
        """The addresses that are collected for the next list."""
        self._lists: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> GroupingVerifier:
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancel_all(self._lists)

    async def verify(self, address: Address) -> Verification:
        self._in_flight += 1
        try:
            await asyncio.sleep(0)  # so that all addresses of one read are in flight
            if self._deadline_s is None and self._in_flight >= LIST_SIZE:
                self._makes_lists = True
            if not self._makes_lists:
                return await self._verify_singly(address)
            verification = await self._verify_in_list(address)
            control_deferred = (
                verification.temporary and verification.reason is Reason.ACCEPTED_EMAIL
            )
            if verification.reason is Reason.GREYLISTED or control_deferred:
                return await self._verify_singly(address)
            return with_guessed_person(verification)
        finally:
            self._in_flight -= 1

    async def _verify_singly(self, address: Address) -> Verification:
        async with self._slots:
            return await self._engine.verify(address, self._checks, self._deadline_s)

    def _verify_in_list(self, address: Address) -> asyncio.Future[Verification]:
        loop = asyncio.get_running_loop()
        if not self._next_list:
            loop.call_later(LIST_DELAY_S, self._start_list)
        future: asyncio.Future[Verification] = loop.create_future()
        self._next_list[address].append(future)
        return future

    def _start_list(self) -> None:
        waiting, self._next_list = self._next_list, defaultdict(list)
        task = asyncio.create_task(self._verify_list(waiting))
        self._lists.add(task)
        task.add_done_callback(self._lists.discard)

    async def _verify_list(self, waiting: _Waiting) -> None:
        try:
            stream = self._engine.verify_many(tuple(waiting), self._checks)
            async with aclosing(stream) as results:
                async for address, verification in results:
                    for future in waiting.pop(address):
                        if not future.done():
                            future.set_result(verification)
        except Exception as exc:
            for future in (future for futures in waiting.values() for future in futures):
                if not future.done():
                    future.set_exception(exc)
