"""Whether an egress works, and whether it reaches IPv6: learnt from its connections. Pure.

A fault of the egress itself (its proxy refuses, its address is gone) rests it at once. Failures
that may be its own or the hosts' rest it after several at different operators without a banner in
between. After a rest a single connection tries it; the rest is longer after each further fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable

FIRST_REST_S = 1.0
MAX_REST_S = 60.0
REST_GROWTH = 2.0
TRIAL_S = 2.0
"""How long other connections wait for the outcome of the single one after a rest."""
DOUBTS_UNTIL_REST = 3
"""Operators in a row at which a connection failed for a reason that may be the egress's own."""
PROVEN_FOR_S = 30.0
"""How long a banner shows that an egress works."""
NO_IPV6_FOR_S = 600.0
"""How long no IPv6 address is tried where there was no way to one."""
IPV6_DOUBTS = 2
"""IPv6 hosts in a row that could not be reached; then there is no way to any, it seems."""


class EgressHealth:
    """The state of one egress."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._resting_until = -math.inf
        self._in_trial = False
        self._consecutive_rests = 0
        """Rests without a banner in between."""
        self._doubted: set[str] = set()
        """Operators since the last banner."""
        self._ipv6_failures: set[str] = set()
        """Hosts since the last banner over IPv6."""
        self._no_ipv6_until = -math.inf
        self._banner_at = -math.inf
        self.faults = 0
        """Faults since the start."""
        self.reason = ""
        """Of the last fault."""

    @property
    def left_s(self) -> float:
        """Seconds until the egress is tried again; 0 if it may be used."""
        return max(0.0, self._resting_until - self._clock())

    @property
    def is_proven(self) -> bool:
        """Whether a banner came by it lately, so that a host that is silent is so itself."""
        return self._clock() - self._banner_at < PROVEN_FOR_S and not self._consecutive_rests

    @property
    def reaches_ipv6(self) -> bool:
        """False for a while after IPv6 addresses could not be reached."""
        return self._clock() >= self._no_ipv6_until

    def start_trial(self) -> None:
        """A connection is made: after a rest it is the only one, until its outcome is known."""
        if self._consecutive_rests:
            self._in_trial = True
            self._resting_until = self._clock() + TRIAL_S

    def record_banner(self, ip: str) -> bool:
        """A host's own words came by this egress, so it works; whether it had failed before."""
        had_failed = self._consecutive_rests > 0
        self._banner_at = self._clock()
        self._resting_until = -math.inf
        self._consecutive_rests = 0
        self._in_trial = False
        self._doubted.clear()
        if ":" in ip:
            self._ipv6_failures.clear()
            self._no_ipv6_until = -math.inf
        return had_failed

    def record_no_banner(self) -> None:
        """A host could not be reached, for reasons of its own: the next trial may follow."""
        if self._in_trial:
            self._in_trial = False
            self._resting_until = -math.inf

    def record_fault(self, reason: str) -> bool:
        """The egress itself failed, for `reason`; returns whether a rest begins."""
        self.faults += 1
        self.reason = reason
        if self.left_s and not self._in_trial:
            return False  # connections that were made at the same time count as one
        self._in_trial = False
        growth = REST_GROWTH ** min(self._consecutive_rests, 32)
        self._resting_until = self._clock() + min(MAX_REST_S, FIRST_REST_S * growth)
        self._consecutive_rests += 1
        return True

    def record_doubt(self, operator: str, reason: str) -> bool:
        """No banner of a host of `operator` came, and the egress may be why.

        Returns whether a rest begins.
        """
        self._doubted.add(operator)
        if self._in_trial or len(self._doubted) >= DOUBTS_UNTIL_REST:
            self._doubted.clear()
            return self.record_fault(reason)
        return False

    def record_ipv6_failure(self, host: str, *, certain: bool) -> None:
        """An IPv6 address of `host` was not reached; `certain` if none would be."""
        self._ipv6_failures.add(host)
        if certain or len(self._ipv6_failures) >= IPV6_DOUBTS:
            self._ipv6_failures.clear()
            self._no_ipv6_until = self._clock() + NO_IPV6_FOR_S
