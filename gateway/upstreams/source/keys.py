"""The keys of one upstream: which is used, which rest, which are dead.

One key is used until it fails: a refused key is dead, a throttled or empty one rests. A fault
of the network says nothing of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DEAD_PAUSE_S = 3_600.0
"""Until a refused key is tried once more; doubles with each refusal. Some vendors block an
address for good after failed attempts."""
MAX_DEAD_PAUSE_S = 86_400.0
EMPTY_PAUSE_S = 300.0
"""Until an account without credits is tried again, unless its balance says otherwise first."""


@dataclass(slots=True, eq=False)
class Key:
    """One key and what became of it."""

    value: str = field(repr=False)
    place: int
    """Its number among the upstream's keys, for people: the key itself is shown nowhere."""
    rests_until: float = 0.0
    dead: bool = False
    dead_pause_s: float = DEAD_PAUSE_S
    credits: int | None = None
    """As last told by the balance; None if it was never told."""


class KeyRing:
    """The keys of one upstream. `clock` is monotonic, in seconds."""

    def __init__(self, values: Sequence[str], *, clock: Callable[[], float]) -> None:
        self.keys = tuple(Key(value, place) for place, value in enumerate(values, start=1))
        self._clock = clock
        self._current = 0

    def pick(self) -> Key | None:
        """The key to use now; None if all are dead or rest."""
        now = self._clock()
        for step in range(len(self.keys)):
            place = (self._current + step) % len(self.keys)
            if self.keys[place].rests_until <= now:
                self._current = place
                return self.keys[place]
        return None

    @property
    def ready_in_s(self) -> float:
        """Seconds until a key may be used; 0 if one may now."""
        return max(min(key.rests_until for key in self.keys) - self._clock(), 0.0)

    @property
    def all_dead(self) -> bool:
        return all(key.dead for key in self.keys)

    def put(self, place: int, value: str) -> bool:
        """Another key in this place, if it is another: nothing is known of it yet.

        Whoever is asking with the one before goes on with it.
        """
        if self.keys[place - 1].value == value:
            return False
        keys = list(self.keys)
        keys[place - 1] = Key(value, place)
        self.keys = tuple(keys)
        return True

    def works(self, key: Key) -> None:
        """It was accepted."""
        if key.dead:
            key.dead, key.dead_pause_s, key.rests_until = False, DEAD_PAUSE_S, 0.0

    def refused(self, key: Key) -> bool:
        """It was not: unknown, revoked, or without the right. Whether that is news."""
        if not key.dead:
            key.dead_pause_s = DEAD_PAUSE_S
        elif key.rests_until > self._clock():
            # what was under way when the first refusal came
            return False
        else:
            key.dead_pause_s = min(key.dead_pause_s * 2, MAX_DEAD_PAUSE_S)
        key.dead = True
        key.rests_until = self._clock() + key.dead_pause_s
        return True

    def rest(self, key: Key, seconds: float) -> None:
        """Throttled, or without credits."""
        key.rests_until = max(key.rests_until, self._clock() + seconds)

    def counted(self, key: Key, credits: int) -> None:
        """Its balance as the vendor tells it, which also shows that the key is good."""
        key.credits = credits
        self.works(key)
        if credits <= 0:
            self.rest(key, EMPTY_PAUSE_S)
        elif key.rests_until - self._clock() > 0:
            key.rests_until = 0.0
