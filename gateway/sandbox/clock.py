"""Clocks that can be frozen, and moved forward or back.

The whole server takes its time from one shared clock, so that moving it moves retention, hourly
webhooks and rate limits together. A scope can have its own clock, which runs on top of the shared
one: tests that run at the same time each have their own time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.cache import BoundedDict


class AdjustableClock:
    """Unix time in seconds, which can be set."""

    def __init__(self, base: Callable[[], float] = time.time) -> None:
        self._base = base
        self._offset_s = 0.0
        self._frozen_at: float | None = None
        self._listeners: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self._base() + self._offset_s if self._frozen_at is None else self._frozen_at

    @property
    def is_frozen(self) -> bool:
        return self._frozen_at is not None

    @property
    def is_moved(self) -> bool:
        """Whether it differs from its base."""
        return self.is_frozen or self._offset_s != 0

    def freeze(self, at: float | None = None) -> None:
        """Stop at `at`, or at the current time."""
        self._frozen_at = self() if at is None else at
        self._notify()

    def set(self, at: float) -> None:
        """Set the time to `at`. A frozen clock stays frozen."""
        if self.is_frozen:
            self._frozen_at = at
        else:
            self._offset_s = at - self._base()
        self._notify()

    def advance(self, seconds: float) -> None:
        """Move it forward, or back by a negative number."""
        self.set(self() + seconds)

    def resume(self) -> None:
        """Run on from the frozen time."""
        if self._frozen_at is not None:
            self._offset_s = self._frozen_at - self._base()
            self._frozen_at = None
            self._notify()

    def reset(self) -> None:
        """Follow its base again."""
        self._offset_s, self._frozen_at = 0.0, None
        self._notify()

    def add_listener(self, moved: Callable[[], None]) -> None:
        """Call `moved` after every change, for tasks that sleep until some time."""
        self._listeners.append(moved)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()


MAX_OWN_CLOCKS = 10_000
"""Clocks of scopes; another one replaces the oldest."""


class Clocks:
    """The shared clock, which is that of scope None, and the clocks of scopes."""

    def __init__(self, shared: Callable[[], float]) -> None:
        """`shared` is Unix time in seconds; it can be moved if it is an `AdjustableClock`."""
        self._shared = shared
        self.shared = shared if isinstance(shared, AdjustableClock) else None
        self._own: BoundedDict[int | None, AdjustableClock] = BoundedDict(MAX_OWN_CLOCKS)
        self._listeners: list[Callable[[], None]] = []

    def now(self, scope: int | None) -> float:
        """A scope's Unix time in seconds."""
        return self._own.get(scope, self._shared)()

    def owning_scope(self, scope: int | None) -> int | None:
        """The scope, if it has its own clock, else None."""
        return scope if scope in self._own else None

    def is_moved(self, scope: int | None) -> bool:
        """Whether a scope's time is not the real time."""
        own = self._own.get(scope)
        return (own is not None and own.is_moved) or (
            self.shared is not None and self.shared.is_moved
        )

    def is_frozen(self, scope: int | None) -> bool:
        """Whether a scope's time is frozen."""
        own = self._own.get(scope)
        return (own is not None and own.is_frozen) or (
            self.shared is not None and self.shared.is_frozen
        )

    def own_clock(self, scope: int) -> AdjustableClock:
        """A scope's own clock, made if it has none."""
        own = self._own.get(scope)
        if own is None:
            own = self._own[scope] = AdjustableClock(self._shared)
            own.add_listener(self._notify)
        return own

    def reset(self, scope: int | None) -> None:
        """Remove a scope's own clock; for None remove all, and reset the shared clock."""
        if scope is not None:
            self._own.pop(scope, None)
        else:
            self._own.clear()
            if self.shared is not None:
                self.shared.reset()
        self._notify()

    def add_listener(self, moved: Callable[[], None]) -> None:
        """Call `moved` after every change of a clock."""
        self._listeners.append(moved)
        if self.shared is not None:
            self.shared.add_listener(moved)

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()
