"""The keys of one upstream: the one in use, and those that are paused or were refused.

One key is used until it fails. A refused key is dead; a throttled one, or one without credits, is
paused. A fault of the network says nothing about a key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REFUSED_KEY_PAUSE_S = 3_600.0
"""Until a refused key is tried again; doubles with each refusal, since some vendors block an IP
address for good after failed attempts."""
MAX_REFUSED_KEY_PAUSE_S = 86_400.0
NO_CREDITS_PAUSE_S = 300.0
"""Until an account without credits is tried again, unless its balance is read before."""
THROTTLED_TRIAL_S = 0.25
"""Between two requests with a key whose vendor's pause is over, until the first is served."""
MAX_PAUSE_S = 3_600.0
"""A vendor's `Retry-After` may say anything, such as a date in the year 9999."""


@dataclass(slots=True, eq=False)
class UpstreamKey:
    """One key and its state."""

    value: str = field(repr=False)
    number: int
    """Its number among the upstream's keys, which logs show in its place."""
    paused_until: float = 0.0
    throttled_at: float | None = None
    """When the vendor last asked for the pause that the key has; None if it has another, or none.
    """
    dead: bool = False
    dead_pause_s: float = REFUSED_KEY_PAUSE_S
    credits: int | None = None
    """By the balance that was read last; None before the first."""


class KeyRing:
    """The keys of one upstream. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        values: Sequence[str],
        *,
        clock: Callable[[], float],
        max_pause_s: float = MAX_PAUSE_S,
    ) -> None:
        """`max_pause_s`: the longest pause, even if the vendor asks for more."""
        self._max_pause_s = max_pause_s
        self.keys = tuple(
            UpstreamKey(value, number) for number, value in enumerate(values, start=1)
        )
        self._clock = clock
        self._current = 0

    def pick(self) -> UpstreamKey | None:
        """The key to use now; None if all are paused or dead."""
        now = self._clock()
        for step in range(len(self.keys)):
            index = (self._current + step) % len(self.keys)
            key = self.keys[index]
            if key.paused_until <= now:
                self._current = index
                if key.throttled_at is not None:
                    # One request shows whether the vendor serves again.
                    key.paused_until = now + THROTTLED_TRIAL_S
                return key
        return None

    @property
    def throttled(self) -> UpstreamKey | None:
        """A key that only its vendor's pause keeps from being used."""
        return next(
            (key for key in self.keys if key.throttled_at is not None and not key.dead), None
        )

    def pick_throttled(self) -> UpstreamKey | None:
        """A key to use as a last resort, before its vendor's pause is over; None if there is none.

        Keys that were refused, or are without credits, are never used before their time.
        """
        return self.pick() if self.ready_in_s <= 0 else self.throttled

    @property
    def ready_in_s(self) -> float:
        """Seconds until a key may be used; 0 if one may now."""
        return max(min(key.paused_until for key in self.keys) - self._clock(), 0.0)

    @property
    def current_number(self) -> int:
        """The number of the key that was used last."""
        return self.keys[self._current].number

    def is_resting(self, key: UpstreamKey) -> bool:
        return key.paused_until > self._clock()

    def end_pauses(self) -> None:
        """Allow each key to be tried now, whatever it waits for."""
        for key in self.keys:
            key.paused_until = 0.0

    @property
    def all_dead(self) -> bool:
        return all(key.dead for key in self.keys)

    def replace_key(self, number: int, value: str) -> bool:
        """Put a key in the place of an earlier one. Returns False if it is the same.

        Requests in flight go on with the earlier one.
        """
        if self.keys[number - 1].value == value:
            return False
        keys = list(self.keys)
        keys[number - 1] = UpstreamKey(value, number)
        self.keys = tuple(keys)
        return True

    def mark_accepted(self, key: UpstreamKey, sent_at: float = math.inf) -> bool:
        """The vendor served a request with the key, which was sent at `sent_at`.

        Returns whether that ended a pause.
        """
        if key.dead:
            key.dead, key.dead_pause_s, key.paused_until = False, REFUSED_KEY_PAUSE_S, 0.0
            return True
        if key.throttled_at is not None and key.throttled_at < sent_at:
            key.throttled_at, key.paused_until = None, 0.0
            return True
        return False

    def mark_refused(self, key: UpstreamKey) -> bool:
        """The vendor refused the key: it is unknown, revoked or lacks a right.

        Returns whether that is new.
        """
        if not key.dead:
            key.dead_pause_s = REFUSED_KEY_PAUSE_S
        elif key.paused_until > self._clock():
            # A request that was in flight when the key was first refused.
            return False
        else:
            key.dead_pause_s = min(key.dead_pause_s * 2, MAX_REFUSED_KEY_PAUSE_S)
        key.dead = True
        key.paused_until = self._clock() + key.dead_pause_s
        return True

    def follow_refusal(self, key: UpstreamKey, seconds: float) -> None:
        """Another process, or an earlier run, found the key refused, for so long."""
        key.dead, key.throttled_at = True, None
        key.paused_until = max(
            key.paused_until, self._clock() + min(seconds, MAX_REFUSED_KEY_PAUSE_S)
        )

    def lift(self, key: UpstreamKey) -> None:
        """Another process found that the vendor serves the key again."""
        key.dead, key.dead_pause_s = False, REFUSED_KEY_PAUSE_S
        key.throttled_at, key.paused_until = None, 0.0

    def pause(self, key: UpstreamKey, seconds: float) -> None:
        """Use the key no more for a while: it is without credits."""
        seconds = min(seconds, self._max_pause_s)
        key.throttled_at = None
        key.paused_until = max(key.paused_until, self._clock() + seconds)

    def throttle(self, key: UpstreamKey, seconds: float) -> None:
        """Use the key no more for as long as its vendor asks, but as a last resort."""
        was_paused = key.throttled_at is None and key.paused_until > self._clock()
        self.pause(key, seconds)
        if not was_paused:
            key.throttled_at = self._clock()

    def record_balance(self, key: UpstreamKey, credits: int) -> None:
        """The balance that the vendor reports, which also shows that the key is accepted."""
        key.credits = credits
        if key.dead:
            self.mark_accepted(key)
        if credits <= 0:
            self.pause(key, NO_CREDITS_PAUSE_S)
        elif key.throttled_at is None:
            key.paused_until = 0.0
