"""The keys of one upstream: which is used, which rest, which are dead.

One key is used until it fails: a refused key is dead, a throttled or empty one rests. A fault
of the network says nothing of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REFUSED_KEY_PAUSE_S = 3_600.0
"""Until a refused key is tried once more; doubles with each refusal. Some vendors block an
address for good after failed attempts."""
MAX_REFUSED_KEY_PAUSE_S = 86_400.0
NO_CREDITS_PAUSE_S = 300.0
"""Until an account without credits is tried again, unless its balance says otherwise first."""


MAX_PAUSE_S = 3_600.0
"""A vendor's `Retry-After` may say anything, such as a date in the year 9999."""


@dataclass(slots=True, eq=False)
class UpstreamKey:
    """One key and what became of it."""

    value: str = field(repr=False)
    number: int
    """Its number among the upstream's keys, for people: the key itself is shown nowhere."""
    paused_until: float = 0.0
    dead: bool = False
    dead_pause_s: float = REFUSED_KEY_PAUSE_S
    credits: int | None = None
    """As last told by the balance; None if it was never told."""


class KeyRing:
    """The keys of one upstream. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        values: Sequence[str],
        *,
        clock: Callable[[], float],
        max_pause_s: float = MAX_PAUSE_S,
    ) -> None:
        """`max_pause_s`: the longest pause, whatever the vendor asks for; then it is tried."""
        self._max_pause_s = max_pause_s
        self.keys = tuple(UpstreamKey(value, place) for place, value in enumerate(values, start=1))
        self._clock = clock
        self._current = 0

    def pick(self) -> UpstreamKey | None:
        """The key to use now; None if all are dead or rest."""
        now = self._clock()
        for step in range(len(self.keys)):
            place = (self._current + step) % len(self.keys)
            if self.keys[place].paused_until <= now:
                self._current = place
                return self.keys[place]
        return None

    @property
    def ready_in_s(self) -> float:
        """Seconds until a key may be used; 0 if one may now."""
        return max(min(key.paused_until for key in self.keys) - self._clock(), 0.0)

    @property
    def all_dead(self) -> bool:
        return all(key.dead for key in self.keys)

    def replace_key(self, number: int, value: str) -> bool:
        """Another key in this place, if it is another: nothing is known of it yet.

        Whoever is asking with the one before goes on with it.
        """
        if self.keys[number - 1].value == value:
            return False
        keys = list(self.keys)
        keys[number - 1] = UpstreamKey(value, number)
        self.keys = tuple(keys)
        return True

    def mark_accepted(self, key: UpstreamKey) -> None:
        """It was accepted."""
        if key.dead:
            key.dead, key.dead_pause_s, key.paused_until = False, REFUSED_KEY_PAUSE_S, 0.0

    def mark_refused(self, key: UpstreamKey) -> bool:
        """It was not: unknown, revoked, or without the right. Whether that is news."""
        if not key.dead:
            key.dead_pause_s = REFUSED_KEY_PAUSE_S
        elif key.paused_until > self._clock():
            # what was under way when the first refusal came
            return False
        else:
            key.dead_pause_s = min(key.dead_pause_s * 2, MAX_REFUSED_KEY_PAUSE_S)
        key.dead = True
        key.paused_until = self._clock() + key.dead_pause_s
        return True

    def pause(self, key: UpstreamKey, seconds: float) -> None:
        """Throttled, or without credits."""
        seconds = min(seconds, self._max_pause_s)
        key.paused_until = max(key.paused_until, self._clock() + seconds)

    def record_balance(self, key: UpstreamKey, credits: int) -> None:
        """Its balance as the vendor tells it, which also shows that the key is good."""
        key.credits = credits
        self.mark_accepted(key)
        if credits <= 0:
            self.pause(key, NO_CREDITS_PAUSE_S)
        elif key.paused_until - self._clock() > 0:
            key.paused_until = 0.0
