"""One process looks for an answer that several want at once, and the others get a copy of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator

from gateway.cluster.shared.keys import SharedKeys, SharedStoreAway
from gateway.cluster.shared.scripts import LOOK_OR_LEAD, STILL_LEADS

LEAD_S = 6.0
"""How long a process that was killed keeps others waiting; a living one renews its lead."""
RENEW_EVERY_S = 2.0
POLL_FIRST_S, POLL_MAX_S = 0.05, 0.25
MAX_ANSWER_S = 300.0
"""A copy is short-lived: answers are stored in the database."""
_ANSWER, _TOKEN = b"a", b"t"
"""The first byte of a value says which of the two it is."""


class Flight:
    """One search for an answer."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.answer = answer
        """What another process has found; None: look for it."""
        self.found: bytes | None = None
        self.ttl_s = 0.0

    def publish(self, answer: bytes, ttl_s: float) -> None:
        """Tell other processes at the end what was found."""
        self.found, self.ttl_s = answer, ttl_s


class SharedFlights:
    """The searches of all processes; without the shared server, this process searches alone."""

    def __init__(self, keys: SharedKeys, owner: str, rng: random.Random) -> None:
        """`owner` is the id of this process."""
        self._keys = keys
        self._owner = owner
        self._rng = rng
        self._numbers = itertools.count(1)
        self._leads: dict[str, bytes] = {}
        """The tokens of the searches that this process makes, by the names of their keys."""

    @property
    def are_shared(self) -> bool:
        """Whether the searches of other processes can be seen now."""
        return self._keys.is_counted

    @contextlib.asynccontextmanager
    async def join(self, what: str, wait_s: float) -> AsyncIterator[Flight]:
        """Wait for the answer that another process looks for, at most so long, or look for it.

        Inside, an answer that is missing is looked for and published. Without one the next process
        looks for it.
        """
        store = self._keys.store
        if store is None or not store.is_up:
            yield Flight()
            return
        key = self._keys.name("answer", what)
        token = _TOKEN + f"{self._owner}.{next(self._numbers)}".encode()
        answer = await self._look_or_lead(key, token, wait_s)
        flight = Flight(answer)
        leads = answer is None and self._leads.get(key) == token
        try:
            yield flight
        finally:
            if leads:
                del self._leads[key]
            if flight.found is not None and flight.ttl_s > 0:
                self.publish(what, flight.found, flight.ttl_s)
            elif leads:
                store.post_script(STILL_LEADS, [key], token, 0)

    def publish(self, what: str, answer: bytes, ttl_s: float) -> None:
        """Give other processes an answer that none of them waits for."""
        if (store := self._keys.store) is not None:
            ttl_ms = max(1, round(min(ttl_s, MAX_ANSWER_S) * 1000))
            store.post("SET", self._keys.name("answer", what), _ANSWER + answer, "PX", ttl_ms)

    async def renew_periodically(self) -> None:
        """Renew the leads until cancelled."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            if self._keys.store is not None:
                for key, token in self._leads.items():
                    self._keys.store.post_script(STILL_LEADS, [key], token, round(LEAD_S * 1000))

    async def _look_or_lead(self, key: str, token: bytes, wait_s: float) -> bytes | None:
        """The answer; None if this process should look for it."""
        store = self._keys.store
        assert store is not None
        pause_s = POLL_FIRST_S
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            try:
                value = await store.run(LOOK_OR_LEAD, [key], token, round(LEAD_S * 1000))
            except SharedStoreAway:
                return None
            if not value:
                self._leads[key] = token
                return None
            if value[:1] == _ANSWER:
                return bytes(value[1:])
            if asyncio.get_running_loop().time() + pause_s > deadline:
                return None
            await asyncio.sleep(pause_s * self._rng.uniform(0.8, 1.2))
            pause_s = min(pause_s * 1.5, POLL_MAX_S)
