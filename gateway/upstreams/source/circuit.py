"""The circuit breaker of one source.

    closed --failures--> open --pause--> half open --a trial succeeds--> recovering --> closed
                          ^                 |  a trial fails: the pause doubles |
                          +-----------------+-----------------------------------+

A ban opens it for much longer, whatever the settings say: some vendors block an address for good
after failed attempts.

While it is open, what still fails extends the pause; while it recovers, a share of the
requests that grows with time is let through (nginx's "slow start", Envoy's too).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a source is left alone, and for how long."""

    failures: int = 5
    """In a row that open it."""
    pause_s: float = 5.0
    """Until the first trial; doubles with each trial that fails."""
    max_pause_s: float = 300.0
    ramp_s: float = 10.0
    """From the trial that succeeded until every request is let through."""


WINDOW = 20
"""Latest outcomes looked at: half of them failures open it too, in a row or not."""
FIRST_SHARE = 0.1
"""Of the requests let through right after a successful trial."""
RECOVERING_FAILURES = 2
"""In a row that open it again while it recovers."""

BAN_PAUSE_S = 3_600.0
"""Until the first trial after our account or address was refused; doubles with each refusal."""
MAX_BAN_PAUSE_S = 86_400.0

TRIAL_LOOK_S = 0.1
"""How soon to look again while a trial is under way."""


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One trial is under way, or may be."""
    RECOVERING = "recovering"


class Admission(StrEnum):
    """Whether a request may be sent."""

    YES = "yes"
    RATHER_NOT = "rather_not"
    """It recovers, and this request is beyond its share: only if nobody else can."""
    NO = "no"


class Circuit:
    """Whether a source is worth asking. `clock` is monotonic, in seconds."""

    def __init__(
        self, rules: CircuitRules, *, clock: Callable[[], float], rng: random.Random
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._rng = rng
        self._state = State.CLOSED
        self._in_a_row = 0
        self._latest: deque[bool] = deque(maxlen=WINDOW)
        self._pause_s = rules.pause_s
        self._open_until = 0.0
        self._trial_until = 0.0
        self._recovering_since = 0.0
        self._ban_pause_s = 0.0
        self._banned = False

    @property
    def state(self) -> State:
        if self._state is State.OPEN and self._clock() >= self._open_until:
            return State.HALF_OPEN
        if self._state is State.RECOVERING and self._share() >= 1:
            return State.CLOSED
        return self._state

    @property
    def is_banned(self) -> bool:
        """Whether our account or address was refused, and no trial has ended otherwise since."""
        return self._banned

    @property
    def reopens_in_s(self) -> float:
        """Seconds until a trial may be sent; 0 if one may now."""
        now = self._clock()
        if self._state is State.OPEN:
            return max(self._open_until - now, 0.0)
        if self._state is State.HALF_OPEN:
            # its trial may end at any moment
            return max(min(self._trial_until - now, TRIAL_LOOK_S), 0.0)
        return 0.0

    def admit(self, trial_s: float) -> Admission:
        """Ask to send a request; of a half-open circuit one gets the trial.

        A trial that has not reported after `trial_s` is given up for lost.
        """
        if self._state is State.CLOSED:
            return Admission.YES
        if self._state is State.RECOVERING:
            share = self._share()
            if share >= 1:
                self._close()
                return Admission.YES
            return Admission.YES if self._rng.random() < share else Admission.RATHER_NOT
        if self.reopens_in_s > 0:
            return Admission.NO
        self._state = State.HALF_OPEN
        self._trial_until = self._clock() + trial_s
        return Admission.YES

    def succeeded(self) -> None:
        self._in_a_row = 0
        self._latest.append(True)
        if self._state is State.HALF_OPEN:
            self._banned, self._ban_pause_s = False, 0.0
            self._state = State.RECOVERING
            self._recovering_since = self._clock()
            self._latest.clear()

    def failed(self, retry_after_s: float | None = None) -> None:
        """A fault that speaks against the source; it may have said how long it wants to rest."""
        self._in_a_row += 1
        self._latest.append(False)
        match self.state:
            case State.HALF_OPEN:
                self._banned = False
                self._open(longer=True)
            case State.RECOVERING if self._in_a_row >= RECOVERING_FAILURES:
                self._open(longer=True)
            case State.OPEN:
                self._open(longer=False)
            case State.CLOSED if self._too_many():
                if self._state is State.RECOVERING:
                    self._close()
                self._open(longer=False)
        if retry_after_s:
            self.rest(retry_after_s)

    def banned(self) -> bool:
        """Our account or our address is refused. Whether that is news."""
        if self._banned and self._state is State.OPEN:
            # what was under way when the first refusal came
            return False
        self._ban_pause_s = min(self._ban_pause_s * 2 or BAN_PAUSE_S, MAX_BAN_PAUSE_S)
        self._banned = True
        self._state = State.OPEN
        self._open_until = self._clock() + self._ban_pause_s
        return True

    def allow_trial(self) -> None:
        """Something was done about a ban: find out at once whether it helped."""
        if self._banned and self._state is State.OPEN:
            self._open_until = self._clock()

    def rest(self, seconds: float) -> None:
        """Leave it alone for so long, as it asked."""
        until = self._clock() + min(seconds, self._rules.max_pause_s)
        if self._state is not State.OPEN or until > self._open_until:
            self._state = State.OPEN
            self._open_until = until

    def left(self) -> None:
        """A request that said neither: it was cancelled, or the fault was not the source's."""
        if self._state is State.HALF_OPEN:
            self._trial_until = self._clock()

    def _too_many(self) -> bool:
        failures = self._latest.count(False)
        return self._in_a_row >= self._rules.failures or failures * 2 >= WINDOW

    def _share(self) -> float:
        if self._rules.ramp_s <= 0:
            return 1.0
        elapsed = (self._clock() - self._recovering_since) / self._rules.ramp_s
        return FIRST_SHARE + (1 - FIRST_SHARE) * elapsed

    def _open(self, *, longer: bool) -> None:
        if longer:
            self._pause_s = min(self._pause_s * 2, self._rules.max_pause_s)
        self._state = State.OPEN
        # spread, so that many instances do not come back in the same moment
        pause_s = self._pause_s * self._rng.uniform(0.9, 1.1)
        self._open_until = max(self._open_until, self._clock() + pause_s)

    def _close(self) -> None:
        self._state = State.CLOSED
        self._pause_s = self._rules.pause_s
        self._in_a_row = 0
        self._latest.clear()
