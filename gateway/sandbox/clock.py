"""Clocks that can be frozen, and put forward or back.

The whole server takes its time from one clock, so that moving it moves retention, hourly
webhooks and rate windows at once. A scope can have one of its own, which goes by that one until
it is moved: tests that run side by side each have their own time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.cache import BoundedDict


class AdjustableClock:
    """Unix time in seconds, as the sandbox has it."""

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
        """Whether it shows anything but the real time."""
        return self.is_frozen or self._offset_s != 0

    def freeze(self, at: float | None = None) -> None:
        """Stand still, at `at` or where it is."""
        self._frozen_at = self() if at is None else at
        self._notify()

    def set(self, at: float) -> None:
        """Show `at`, and go on if it went."""
        if self.is_frozen:
            self._frozen_at = at
        else:
            self._offset_s = at - self._base()
        self._notify()

    def advance(self, seconds: float) -> None:
        """Put it forward; back, if negative."""
        self.set(self() + seconds)

    def resume(self) -> None:
        """Go on from where it stands."""
        if self._frozen_at is not None:
            self._offset_s = self._frozen_at - self._base()
            self._frozen_at = None
            self._notify()

    def reset(self) -> None:
        """Show the real time again."""
        self._offset_s, self._frozen_at = 0.0, None
        self._notify()

    def add_listener(self, moved: Callable[[], None]) -> None:
        """Have `moved` called whenever it was set: for whoever sleeps until some time."""
        self._listeners.append(moved)

    def _notify(self) -> None:
        for watcher in self._listeners:
            watcher()


MAX_OWN_CLOCKS = 10_000
"""Clocks of scopes; one more takes the place of the oldest."""


class Clocks:
    """The clock of all, and those of scopes. Scope None has the clock of all."""

    def __init__(self, shared: Callable[[], float]) -> None:
        """`shared` is Unix time in seconds; it can be moved if it is an `AdjustableClock`."""
        self._shared = shared
        self.shared = shared if isinstance(shared, AdjustableClock) else None
        self._own: BoundedDict[int | None, AdjustableClock] = BoundedDict(MAX_OWN_CLOCKS)
        self._listeners: list[Callable[[], None]] = []

    def now(self, scope: int | None) -> float:
        """Unix time in seconds, as a scope has it."""
        return self._own.get(scope, self._shared)()

    def owning_scope(self, scope: int | None) -> int | None:
        """The scope, if it has a clock of its own."""
        return scope if scope in self._own else None

    def is_moved(self, scope: int | None) -> bool:
        """Whether a scope sees anything but the real time."""
        own = self._own.get(scope)
        return (own is not None and own.is_moved) or (
            self.shared is not None and self.shared.is_moved
        )

    def is_frozen(self, scope: int | None) -> bool:
        """Whether the time stands still for a scope."""
        own = self._own.get(scope)
        return (own is not None and own.is_frozen) or (
            self.shared is not None and self.shared.is_frozen
        )

    def own_clock(self, scope: int) -> AdjustableClock:
        """A scope's own clock; it has one from now on."""
        own = self._own.get(scope)
        if own is None:
            own = self._own[scope] = AdjustableClock(self._shared)
            own.add_listener(self._notify)
        return own

    def reset(self, scope: int | None) -> None:
        """A scope has the clock of all again; for None all have, and it shows the real time."""
        if scope is not None:
            self._own.pop(scope, None)
        else:
            self._own.clear()
            if self.shared is not None:
                self.shared.reset()
        self._notify()

    def add_listener(self, moved: Callable[[], None]) -> None:
        """Have `moved` called whenever one of them was set."""
        self._listeners.append(moved)
        if self.shared is not None:
            self.shared.add_listener(moved)

    def _notify(self) -> None:
        for watcher in self._listeners:
            watcher()
