"""How long a source is waited for, by its own latency: until it is suspected, and until the next
source is asked as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.upstreams.source.latency import Latency

STALL_FACTOR = 4.0
"""A request takes suspiciously long after so many times the median latency."""
MIN_STALL_S = 0.1
"""A shorter silence may be our own: a busy machine, a collection of garbage."""
TAIL_FACTOR, MAX_TAIL_S = 2.0, 0.5
"""Where latencies vary, as on a busy machine: so many times the 90th percentile, up to this."""
UNKNOWN_STALL_S = 2.0
"""As long as fewer than `MIN_MEDIAN_SAMPLES` latencies are known."""
MIN_MEDIAN_SAMPLES = 5
MAX_UNPROVEN = 5
"""Requests in flight to a source that has never answered: one that hangs from the beginning shall
not have hundreds."""
TIMEOUT_FACTOR, TIMEOUT_MARGIN_S = 1.5, 0.5
"""The usual time-out is the 99th percentile of the latency times the factor, and the margin."""


def usual_timeout_s(latency: Latency, *, shortest_s: float, longest_s: float) -> float:
    """How long a source is waited for alone. Its answer is used until `longest_s` all the same.

    Never below `shortest_s`, which the vendor calls normal, and which counts while too little is
    known.
    """
    slow_s = latency.percentile_s(99)
    usual_s = 0.0 if slow_s is None else slow_s * TIMEOUT_FACTOR + TIMEOUT_MARGIN_S
    return min(max(usual_s, shortest_s), longest_s)


class InFlight:
    """The requests in flight to one source, and whether they have stopped being answered.

    They have if one that was sent after the latest answer is in flight for several times the usual
    latency: nothing has been answered for as long. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        latency: Latency,
        *,
        clock: Callable[[], float],
        on_first_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_first_answer = on_first_answer
        self._latency = latency
        self._clock = clock
        self._has_answered = False
        self._places: dict[object, tuple[float, Callable[[], None]]] = {}
        """All requests in flight: when they were sent, and what gives their place up."""
        self._since_answer: dict[object, float] = {}
        """When those were sent that nothing was answered after, the earliest first."""

    @property
    def stall_s(self) -> float:
        """The silence after which the source is suspected."""
        median_s = self._latency.percentile_s(50, MIN_MEDIAN_SAMPLES)
        if median_s is None:
            return UNKNOWN_STALL_S
        slow_s = self._latency.percentile_s(90) or median_s
        tail_s = min(slow_s * TAIL_FACTOR, MAX_TAIL_S)
        return max(median_s * STALL_FACTOR, tail_s, MIN_STALL_S)

    @property
    def has_stalled(self) -> bool:
        sent_at = next(iter(self._since_answer.values()), None)
        return sent_at is not None and self._clock() - sent_at > self.stall_s

    @property
    def is_unproven(self) -> bool:
        """Whether it has never answered, and has as many requests in flight as it gets until it
        does."""
        return not self._has_answered and len(self._places) >= MAX_UNPROVEN

    def record_stall(self) -> None:
        """What was sent so far has been judged; the requests that are suspiciously old give up
        their places, and stay in flight."""
        self._since_answer.clear()
        stalled_before = self._clock() - self.stall_s
        for number, (sent_at, give_up_place) in list(self._places.items()):
            if sent_at > stalled_before:
                break
            give_up_place()
            del self._places[number]

    def record_answer(self) -> None:
        """The vendor replied, with whatever: the connection and its server are alive."""
        self._since_answer.clear()
        if not self._has_answered:
            self._has_answered = True
            self._on_first_answer()

    @contextmanager
    def request(self, give_up_place: Callable[[], None]) -> Iterator[None]:
        """A request that is in flight while inside. `give_up_place` is called once at most."""
        number, now = object(), self._clock()
        self._places[number] = (now, give_up_place)
        self._since_answer[number] = now
        try:
            yield
        finally:
            self._places.pop(number, None)
            self._since_answer.pop(number, None)
