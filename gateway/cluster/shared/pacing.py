"""Places and turns that are counted for all processes of one scope, such as those of an egress."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

from gateway.cluster.shared.keys import SharedKeys, SharedStoreAway
from gateway.cluster.shared.scripts import DELAY, HOLD, TAKE, TURN

LEASE_S = 20.0
"""The places of a process that was killed are free again after this time."""
RENEW_EVERY_S = 5.0
POLL_FIRST_S, POLL_MAX_S = 0.05, 0.25
"""How soon a process that waits for a place looks again."""


class HeldPlaces:
    """The places that this process holds, whose leases it renews."""

    def __init__(self, keys: SharedKeys, owner: str, rng: random.Random) -> None:
        """`owner` is the id of this process."""
        self.keys = keys
        self.owner = owner
        self.rng = rng
        self._numbers = itertools.count(1)
        self._tokens: dict[str, set[str]] = {}
        """By the name of a key."""

    def held(self, key: str) -> int:
        return len(self._tokens.get(key, ()))

    def new_token(self) -> str:
        return f"{self.owner}.{next(self._numbers)}"

    def add(self, key: str, token: str) -> None:
        self._tokens.setdefault(key, set()).add(token)

    def discard(self, key: str, token: str) -> None:
        tokens = self._tokens.get(key)
        if tokens is not None:
            tokens.discard(token)
            if not tokens:
                del self._tokens[key]

    async def renew_periodically(self) -> None:
        """Renew all leases until cancelled; also of places that the server has lost."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            self.renew()

    def renew(self) -> None:
        store = self.keys.store
        if store is not None:
            for key, tokens in self._tokens.items():
                store.post_script(HOLD, [key], round(LEASE_S * 1000), *tokens)


class SharedPlaces:
    """Places of one scope; `parts` is the number of processes that share them."""

    def __init__(self, held: HeldPlaces, scope: str, parts: Callable[[], int]) -> None:
        self._held = held
        self._keys = held.keys
        self._scope = scope
        self._parts = parts

    @property
    def is_counted(self) -> bool:
        """As `engine.sharing.Places.is_counted`."""
        return self._keys.is_counted

    def share(self, places: int) -> int:
        """As `engine.sharing.Places.share`."""
        return places if self._keys.is_counted else max(1, places // self._parts())

    async def take(self, name: str, places: int) -> str:
        """As `engine.sharing.Places.take`."""
        pause_s = POLL_FIRST_S
        while (token := await self.try_take(name, places)) is None:
            await asyncio.sleep(pause_s * self._held.rng.uniform(0.8, 1.2))
            pause_s = min(pause_s * 1.5, POLL_MAX_S)
        return token

    async def try_take(self, name: str, places: int) -> str | None:
        """As `take`, without waiting: None if all places are held."""
        store = self._keys.store
        if store is None or not store.is_up:
            return ""
        key = self._keys.name("places", f"{self._scope}\0{name}")
        token = self._held.new_token()
        # Counted before the server is asked: a task that is cancelled meanwhile gives it back.
        self._held.add(key, token)
        taken = 0
        try:
            taken = await store.run(
                TAKE,
                [key, f"{key}:waiting"],
                token,
                self._held.owner,
                self._held.held(key) - 1,
                places,
                round(LEASE_S * 1000),
                self._parts(),
            )
        except SharedStoreAway:
            return ""
        except asyncio.CancelledError:
            self.give_back(name, token)
            raise
        finally:
            if not taken:
                self._held.discard(key, token)
        return token if taken else None

    def give_back(self, name: str, token: str) -> None:
        """As `engine.sharing.Places.give_back`."""
        store = self._keys.store
        if store is not None and token:
            key = self._keys.name("places", f"{self._scope}\0{name}")
            self._held.discard(key, token)
            store.post("ZREM", key, token)


class SharedPaces:
    """Turns of one scope; `parts` is the number of processes that share them."""

    def __init__(self, keys: SharedKeys, scope: str, parts: Callable[[], int]) -> None:
        self._keys = keys
        self._scope = scope
        self._parts = parts

    def share(self, interval_s: float) -> float:
        """As `engine.sharing.Paces.share`."""
        return interval_s if self._keys.is_counted else interval_s * self._parts()

    async def wait_s(self, name: str, interval_s: float, *, burst_s: float = 0.0) -> float:
        """As `engine.sharing.Paces.wait_s`."""
        store = self._keys.store
        if store is None or not store.is_up:
            return 0.0
        key = self._keys.name("pace", f"{self._scope}\0{name}")
        try:
            wait_us = await store.run(
                TURN, [key], round(interval_s * 1_000_000), round(burst_s * 1_000_000)
            )
        except SharedStoreAway:
            return 0.0
        return float(wait_us) / 1_000_000

    def delay(self, name: str, seconds: float) -> None:
        """As `engine.sharing.Paces.delay`."""
        store = self._keys.store
        if store is not None and seconds > 0:
            key = self._keys.name("pace", f"{self._scope}\0{name}")
            store.post_script(DELAY, [key], round(seconds * 1_000_000))
