"""The circuit breaker of one source.

    closed --failures, or a stall--> open --pause--> half open --a trial succeeds--> recovering
      ^                                ^                 |  a trial fails: the pause doubles |
      |                                +-----------------+-----------------------------------+
      +-------------------------------------- every request is admitted again ---------------+

An open circuit is advice: pauses after faults of the network last seconds, and when no other source
can answer, the source is tried all the same, at a bounded rate (`admit_last_resort`). The first
good answer to a request that was sent meanwhile ends the pause. What became of requests that were
sent before the circuit opened, or before it recovered, says nothing new and extends no pause.

A ban opens it for much longer than the settings say, and excludes it from last resorts: some
vendors block an IP address permanently after failed attempts.

While it recovers, it admits a share of the requests that grows with time (the "slow start" of nginx
and Envoy).
"""

from __future__ import annotations

import math
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
    max_trial_pause_s: float
    """The longest pause between two trials; never shorter than `pause_s`."""
    max_pause_s: float
    """The longest pause that a vendor asks for."""
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
LAST_RESORT_INTERVAL_S = 0.2
"""Between two requests of last resort to one source."""


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
    """Whether requests to one source are admitted. `clock` is monotonic, in seconds.

    Outcomes come with `sent_at`, the time when their request was sent; without it that is now.
    """

    def __init__(
        self,
        rules: CircuitRules,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        on_return: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_return` is called when the source is back in rotation before its pause is over."""
        self._rules = rules
        self._clock = clock
        self._rng = rng
        self._on_return = on_return
        self._state = CircuitState.CLOSED
        self._since = -math.inf
        """When the circuit opened or recovered last: outcomes of earlier requests are old news."""
        self._consecutive_failures = 0
        self._recent_outcomes: deque[bool] = deque(maxlen=OUTCOME_WINDOW)
        self._pause_s = rules.pause_s
        self._open_until = 0.0
        self._trial_until = 0.0
        self._last_resort_at = 0.0
        self._stalled = False
        self._ban_pause_s = 0.0
        self._banned = False
        self.returned_at = -math.inf
        """When it last came back after requests had failed or hung; minus infinity if never."""

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
    def is_stalled(self) -> bool:
        """Whether it is open since requests in flight stopped being answered, and no failed."""
        return self._stalled and self._state is not CircuitState.CLOSED

    @property
    def reopens_in_s(self) -> float:
        """Seconds until a trial may be sent; 0 if one may now."""
        if self._state is CircuitState.CLOSED:
            return 0.0
        now = self._clock()
        if self._state is CircuitState.OPEN:
            return max(self._open_until - now, 0.0)
        if self._state is CircuitState.HALF_OPEN:
            # The trial may end at any moment.
            return max(min(self._trial_until - now, TRIAL_RECHECK_S), 0.0)
        return 0.0

    @property
    def last_resort_in_s(self) -> float:
        """Seconds until a request of last resort may be sent; infinite while it is banned."""
        if self._banned:
            return math.inf
        return max(self._last_resort_at - self._clock(), 0.0)

    def admit(self, trial_s: float) -> Admission:
        """Whether a request may be sent; in a half-open circuit one request becomes the trial.

        A trial without an outcome after `trial_s`, or after the pause before it, counts as lost,
        and another may be sent.
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
        self._trial_until = self._clock() + (
            trial_s if self._banned else min(trial_s, self._pause_s)
        )
        return Admission.YES

    def admit_last_resort(self) -> bool:
        """Whether a request may be sent since no other source can answer."""
        if self.last_resort_in_s > 0:
            return False
        self._last_resort_at = self._clock() + LAST_RESORT_INTERVAL_S
        return True

    def record_success(self, sent_at: float | None = None) -> None:
        self._consecutive_failures = 0
        self._recent_outcomes.append(True)
        match self._state:
            case CircuitState.HALF_OPEN:
                self._recover()
            case CircuitState.OPEN if self._banned:
                pass
            case CircuitState.OPEN if self._was_momentary(sent_at):
                # It was slower than usual for a moment.
                self._close()
                self.returned_at = self._since
                self._on_return()
            case CircuitState.OPEN if self._stalled or self._is_news(sent_at):
                self._recover()
            case CircuitState.OPEN:
                self._open_until = self._clock()
                self._on_return()

    def record_failure(
        self, retry_after_s: float | None = None, sent_at: float | None = None
    ) -> None:
        """A fault of the source; `retry_after_s` is the pause that it asked for."""
        if self._is_news(sent_at):
            self._consecutive_failures += 1
            self._recent_outcomes.append(False)
            match self.state:
                case CircuitState.HALF_OPEN:
                    self._banned = False
                    self._open(longer=True)
                case CircuitState.RECOVERING if self._consecutive_failures >= RECOVERING_FAILURES:
                    self._open(longer=True)
                case CircuitState.CLOSED if self._has_too_many_failures():
                    if self._state is CircuitState.RECOVERING:
                        self._close()
                    self._open(longer=False)
        if retry_after_s:
            self.pause(retry_after_s)

    def record_stall(self) -> None:
        """Its requests in flight have stopped being answered: ask elsewhere first."""
        if self._state is CircuitState.OPEN:
            return
        # Longer in any case: a trial that hangs costs its client most.
        self._open(longer=True)
        self._stalled = True

    def record_ban(self) -> bool:
        """The vendor refuses our account or IP address. Returns whether that is new."""
        if self._banned and self._state is CircuitState.OPEN:
            # A request that was in flight when the ban began.
            return False
        self._ban_pause_s = min(self._ban_pause_s * 2 or BAN_PAUSE_S, MAX_BAN_PAUSE_S)
        self._banned = True
        self._state = CircuitState.OPEN
        self._since = self._clock()
        self._open_until = self._since + self._ban_pause_s
        return True

    def allow_trial(self) -> None:
        """The operator may have ended a ban: allow a trial at once."""
        if self._banned:
            self.end_rest()

    def end_rest(self) -> None:
        """Allow a trial at once, whatever opened the circuit."""
        if self._state is CircuitState.OPEN:
            self._open_until = self._clock()

    def pause(self, seconds: float) -> None:
        """Take the source out of rotation for a time that it asked for."""
        until = self._clock() + min(seconds, self._rules.max_pause_s)
        if self._state is not CircuitState.OPEN:
            self._state = CircuitState.OPEN
            self._since = self._clock()
            self._stalled = False
            self._open_until = until
        self._open_until = max(self._open_until, until)

    def follow_pause(self, seconds: float, *, is_ban: bool) -> None:
        """Another process has taken the source out of rotation for so long."""
        longest_s = MAX_BAN_PAUSE_S if is_ban else self._rules.max_pause_s
        until = self._clock() + min(seconds, longest_s)
        if self._state is CircuitState.HALF_OPEN:
            return  # the trial shows more
        if self._state is not CircuitState.OPEN:
            self._state = CircuitState.OPEN
            self._since = self._clock()
            self._stalled = False
            self._open_until = until
        self._open_until = max(self._open_until, until)
        if is_ban and not self._banned:
            self._banned, self._ban_pause_s = True, BAN_PAUSE_S

    def record_neutral(self) -> None:
        """An outcome that says nothing about the source: cancelled, or a fault of another kind."""
        if self._state is CircuitState.HALF_OPEN:
            self._trial_until = self._clock()

    def _was_momentary(self, sent_at: float | None) -> bool:
        """Whether an answer shows that a stall was a moment's: it is over, and cost little time."""
        began = self._since if sent_at is None else min(sent_at, self._since)
        return self._stalled and self._clock() - began < self._rules.pause_s

    def _is_news(self, sent_at: float | None) -> bool:
        return sent_at is None or sent_at >= self._since

    def _has_too_many_failures(self) -> bool:
        failures = self._recent_outcomes.count(False)
        return self._consecutive_failures >= self._rules.failures or failures * 2 >= OUTCOME_WINDOW

    def _admitted_share(self) -> float:
        if self._rules.ramp_s <= 0:
            return 1.0
        elapsed = (self._clock() - self._since) / self._rules.ramp_s
        return INITIAL_SHARE + (1 - INITIAL_SHARE) * elapsed

    def _open(self, *, longer: bool) -> None:
        if longer:
            longest_s = max(self._rules.max_trial_pause_s, self._rules.pause_s)
            self._pause_s = min(self._pause_s * 2, longest_s)
        self._state = CircuitState.OPEN
        self._stalled = False
        self._since = self._clock()
        # Spread, so that many instances do not send their trials at the same moment.
        self._open_until = self._since + self._pause_s * self._rng.uniform(0.9, 1.1)

    def _recover(self) -> None:
        self._banned, self._ban_pause_s, self._stalled = False, 0.0, False
        self._state = CircuitState.RECOVERING
        self._since = self.returned_at = self._clock()
        self._recent_outcomes.clear()
        self._on_return()

    def _close(self) -> None:
        self._state = CircuitState.CLOSED
        self._stalled = False
        self._since = self._clock()
        self._pause_s = self._rules.pause_s
        self._consecutive_failures = 0
        self._recent_outcomes.clear()
