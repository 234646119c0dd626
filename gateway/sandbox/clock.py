"""Clocks that can be frozen, and moved forward or back.

The whole server takes its time from one shared clock, so that moving it moves retention, hourly
webhooks and rate limits together. A scope can have its own clock, which runs on top of the shared
one: tests that run at the same time each have their own time.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.cache import BoundedDict

EARLIEST = 0.0
"""1970-01-01, as Unix time in seconds."""
LATEST = 253_370_764_799.0
"""The end of the year 9998: a year before the last date that there is, since times in the future,
such as the end of a retention, are derived from a clock's time."""


class ClockOutOfRange(ValueError):
    """A clock cannot show the time that it was to be set to."""


class AdjustableClock:
    """Unix time in seconds, which can be set to any time from `EARLIEST` to `LATEST`."""

    def __init__(self, base: Callable[[], float] = time.time) -> None:
        self._base = base
        self._offset_s = 0.0
        self._frozen_at: float | None = None
        self._listeners: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self._time_at(self._base())

    def _time_at(self, base: float) -> float:
        if self._frozen_at is not None:
            return self._frozen_at
        # since it was set, time has gone by, and its base may have been moved
        return min(max(base + self._offset_s, EARLIEST), LATEST)

    @property
    def is_frozen(self) -> bool:
        return self._frozen_at is not None

    @property
    def is_moved(self) -> bool:
        """Whether it differs from its base."""
        return self.is_frozen or self._offset_s != 0

    def change(
        self, *, frozen: bool | None = None, at: float | None = None, advance_s: float = 0.0
    ) -> None:
        """Freeze it or let it run, set it, and move it forward or back, in this order.

        Raises ClockOutOfRange, and then nothing is changed.
        """
        base = self._base()
        now = (self._time_at(base) if at is None else at) + advance_s
        if not EARLIEST <= now <= LATEST:
            raise ClockOutOfRange(now)
        if self.is_frozen if frozen is None else frozen:
            self._frozen_at = now
        else:
            self._frozen_at, self._offset_s = None, now - base
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
