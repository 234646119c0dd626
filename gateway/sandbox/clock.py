"""A clock that can be frozen, and put forward or back.

The whole server takes its time from one clock, so that moving it moves retention, hourly
webhooks and rate windows at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class AdjustableClock:
    """Unix time in seconds, as the sandbox has it."""

    def __init__(self, base: Callable[[], float] = time.time) -> None:
        self._base = base
        self._offset_s = 0.0
        self._frozen_at: float | None = None
        self._watchers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self._base() + self._offset_s if self._frozen_at is None else self._frozen_at

    @property
    def frozen(self) -> bool:
        return self._frozen_at is not None

    @property
    def moved(self) -> bool:
        """Whether it shows anything but the real time."""
        return self.frozen or self._offset_s != 0

    def freeze(self, at: float | None = None) -> None:
        """Stand still, at `at` or where it is."""
        self._frozen_at = self() if at is None else at
        self._tell()

    def set(self, at: float) -> None:
        """Show `at`, and go on if it went."""
        if self.frozen:
            self._frozen_at = at
        else:
            self._offset_s = at - self._base()
        self._tell()

    def advance(self, seconds: float) -> None:
        """Put it forward; back, if negative."""
        self.set(self() + seconds)

    def resume(self) -> None:
        """Go on from where it stands."""
        if self._frozen_at is not None:
            self._offset_s = self._frozen_at - self._base()
            self._frozen_at = None
            self._tell()

    def reset(self) -> None:
        """Show the real time again."""
        self._offset_s, self._frozen_at = 0.0, None
        self._tell()

    def watch(self, moved: Callable[[], None]) -> None:
        """Have `moved` called whenever it was set: for whoever sleeps until some time."""
        self._watchers.append(moved)

    def _tell(self) -> None:
        for watcher in self._watchers:
            watcher()
