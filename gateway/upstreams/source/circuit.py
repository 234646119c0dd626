"""The circuit breaker of one source.

    closed --failures--> open --pause--> half open --a trial succeeds--> recovering --> closed
                          ^                 |  a trial fails: the pause doubles |
                          +-----------------+-----------------------------------+

A ban opens it for much longer than the settings say: some vendors block an IP address permanently
after failed attempts.

While the circuit is open, requests in flight that still fail extend the pause. While it recovers,
it admits a share of the requests that grows with time (the "slow start" of nginx and Envoy).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a source is taken out of rotation, and for how long."""

    failures: int
    """Consecutive failures that open the circuit."""
    pause_s: float
    """Until the first trial; doubles with each failed trial."""
    max_pause_s: float
    ramp_s: float
    """From the successful trial until every request is admitted."""


OUTCOME_WINDOW = 20
"""Latest outcomes: the circuit also opens if half of so many are failures."""
INITIAL_SHARE = 0.1
"""The share of requests admitted right after a successful trial."""
RECOVERING_FAILURES = 2
"""Consecutive failures that open a recovering circuit again."""

BAN_PAUSE_S = 3_600.0
"""Until the first trial after a ban; doubles with each ban."""
MAX_BAN_PAUSE_S = 86_400.0

TRIAL_RECHECK_S = 0.1
"""How soon to look again while a trial is in flight."""


class CircuitState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One trial is in flight, or may be sent."""
    RECOVERING = "recovering"


class Admission(StrEnum):
    """Whether a request may be sent."""

    YES = "yes"
    LAST_RESORT = "rather_not"
    """The circuit recovers, and this request is beyond its share: only if no other source can."""
    NO = "no"


class CircuitBreaker:
    """Whether requests to one source are admitted. `clock` is monotonic, in seconds."""

    def __init__(
        self, rules: CircuitRules, *, clock: Callable[[], float], rng: random.Random
    ) -> None:
        self._rules = rules
        self._clock = clock
        self._rng = rng
        self._state = CircuitState.CLOSED
        self._consecutive_failures = 0
        self._recent_outcomes: deque[bool] = deque(maxlen=OUTCOME_WINDOW)
        self._pause_s = rules.pause_s
        self._open_until = 0.0
        self._trial_until = 0.0
        self._recovering_since = 0.0
        self._ban_pause_s = 0.0
        self._banned = False

    @property
    def state(self) -> CircuitState:
        if self._state is CircuitState.OPEN and self._clock() >= self._open_until:
            return CircuitState.HALF_OPEN
        if self._state is CircuitState.RECOVERING and self._admitted_share() >= 1:
            return CircuitState.CLOSED
        return self._state

    @property
    def is_banned(self) -> bool:
        """Whether the vendor refused our account or IP address, and no trial since went better."""
        return self._banned

    @property
    def reopens_in_s(self) -> float:
        """Seconds until a trial may be sent; 0 if one may now."""
        now = self._clock()
        if self._state is CircuitState.OPEN:
            return max(self._open_until - now, 0.0)
        if self._state is CircuitState.HALF_OPEN:
            # The trial may end at any moment.
            return max(min(self._trial_until - now, TRIAL_RECHECK_S), 0.0)
        return 0.0

    def admit(self, trial_s: float) -> Admission:
        """Whether a request may be sent; in a half-open circuit one request becomes the trial.

        A trial without an outcome after `trial_s` counts as lost, and another may be sent.
        """
        if self._state is CircuitState.CLOSED:
            return Admission.YES
        if self._state is CircuitState.RECOVERING:
            share = self._admitted_share()
            if share >= 1:
                self._close()
                return Admission.YES
            return Admission.YES if self._rng.random() < share else Admission.LAST_RESORT
        if self.reopens_in_s > 0:
            return Admission.NO
        self._state = CircuitState.HALF_OPEN
        self._trial_until = self._clock() + trial_s
        return Admission.YES

    def record_success(self) -> None:
        self._consecutive_failures = 0
        self._recent_outcomes.append(True)
        if self._state is CircuitState.HALF_OPEN:
            self._banned, self._ban_pause_s = False, 0.0
            self._state = CircuitState.RECOVERING
            self._recovering_since = self._clock()
            self._recent_outcomes.clear()

    def record_failure(self, retry_after_s: float | None = None) -> None:
        """A fault of the source; `retry_after_s` is the pause that it asked for."""
        self._consecutive_failures += 1
        self._recent_outcomes.append(False)
        match self.state:
            case CircuitState.HALF_OPEN:
                self._banned = False
                self._open(longer=True)
            case CircuitState.RECOVERING if self._consecutive_failures >= RECOVERING_FAILURES:
                self._open(longer=True)
            case CircuitState.OPEN:
                self._open(longer=False)
            case CircuitState.CLOSED if self._has_too_many_failures():
                if self._state is CircuitState.RECOVERING:
                    self._close()
                self._open(longer=False)
        if retry_after_s:
            self.pause(retry_after_s)

    def record_ban(self) -> bool:
        """The vendor refuses our account or IP address. Returns whether that is new."""
        if self._banned and self._state is CircuitState.OPEN:
            # A request that was in flight when the ban began.
            return False
        self._ban_pause_s = min(self._ban_pause_s * 2 or BAN_PAUSE_S, MAX_BAN_PAUSE_S)
        self._banned = True
        self._state = CircuitState.OPEN
        self._open_until = self._clock() + self._ban_pause_s
        return True

    def allow_trial(self) -> None:
        """The operator may have ended a ban: allow a trial at once."""
        if self._banned and self._state is CircuitState.OPEN:
            self._open_until = self._clock()

    def pause(self, seconds: float) -> None:
        """Take the source out of rotation for a time that it asked for."""
        until = self._clock() + min(seconds, self._rules.max_pause_s)
        if self._state is not CircuitState.OPEN or until > self._open_until:
            self._state = CircuitState.OPEN
            self._open_until = until

    def record_neutral(self) -> None:
        """An outcome that says nothing about the source: cancelled, or a fault of another kind."""
        if self._state is CircuitState.HALF_OPEN:
            self._trial_until = self._clock()

    def _has_too_many_failures(self) -> bool:
        failures = self._recent_outcomes.count(False)
        return self._consecutive_failures >= self._rules.failures or failures * 2 >= OUTCOME_WINDOW

    def _admitted_share(self) -> float:
        if self._rules.ramp_s <= 0:
            return 1.0
        elapsed = (self._clock() - self._recovering_since) / self._rules.ramp_s
        return INITIAL_SHARE + (1 - INITIAL_SHARE) * elapsed

    def _open(self, *, longer: bool) -> None:
        if longer:
            self._pause_s = min(self._pause_s * 2, self._rules.max_pause_s)
        self._state = CircuitState.OPEN
        # Spread, so that many instances do not send their trials at the same moment.
        pause_s = self._pause_s * self._rng.uniform(0.9, 1.1)
        self._open_until = max(self._open_until, self._clock() + pause_s)

    def _close(self) -> None:
        self._state = CircuitState.CLOSED
        self._pause_s = self._rules.pause_s
        self._consecutive_failures = 0
        self._recent_outcomes.clear()
