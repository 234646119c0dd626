"""Counts what the server does: requests, verdicts, sources, latency and spending.

Counting a request is one step in memory; `gateway.observability.activity_log` stores the counts.
Names are closed sets (dialects, verdicts, sources of the settings, …): a few dozen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from engine.model import Attempt, Verdict

LATENCY_BOUNDS_MS = (
    *(1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700),
    *(1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 60_000),
)
"""Upper bounds of the classes of latency; a percentile is exact to its class."""
_BOUNDS_S = tuple(bound / 1000 for bound in LATENCY_BOUNDS_MS)
LONGER = "longer"
"""The class beyond the last bound."""
MICROS = 1_000_000
MAX_NAME_CHARACTERS = 100


class Subject(StrEnum):
    """What a row counts."""

    DIALECT = "dialect"
    """Requests, by dialect."""
    OUTCOME = "outcome"
    """Requests, by `Outcome`."""
    VERDICT = "verdict"
    """Answers to single verifications, by verdict."""
    SOURCE = "source"
    """The same, by where they came from."""
    BATCH_VERDICT = "batch_verdict"
    """Addresses of batches, by verdict."""
    CACHE = "cache"
    """Look-ups in the verdict cache, by what it had."""
    LATENCY = "latency"
    """Requests, by class of latency; the total is in microseconds."""
    ATTEMPT = "attempt"
    """Sources asked: `NAME OUTCOME`; the total is their time in microseconds."""
    SPENT = "spent"
    """Paid calls, by source; the total is in millionths of the currency."""


class Outcome(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """A mistake of the client, by its status of 4xx."""
    FAILED = "failed"


@dataclass(slots=True)
class Tally:
    """A count, and the sum of what was counted."""

    count: int = 0
    total: int = 0


Counts = dict[tuple[str, str], Tally]
"""By subject and name."""


class ActivityCounter:
    """Counts in memory, until the counts are taken."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int, str, str, int], list[float]] = {}
        self._other: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)

    def count_request(
        self, dialect: str, status: int, source: str, verdict: str, seconds: float
    ) -> None:
        key = (dialect, status, source, verdict, bisect_left(_BOUNDS_S, seconds))
        found = self._requests.get(key)
        if found is None:
            self._requests[key] = [1, seconds]
        else:
            found[0] += 1
            found[1] += seconds

    def count_attempt(self, attempt: Attempt) -> None:
        if attempt.asked:
            name = f"{attempt.source} {attempt.outcome}"
            self._add(Subject.ATTEMPT, name, 1, attempt.latency_ms * 1000)
        if attempt.cost:
            self._add(Subject.SPENT, attempt.source, 1, round(attempt.cost * MICROS))

    def count_batch_results(self, verdicts: Iterable[Verdict]) -> None:
        """Count addresses of a batch whose results are stored."""
        for verdict, count in Counter(verdicts).items():
            self._add(Subject.BATCH_VERDICT, verdict.value, count)

    def count_cache_lookup(self, outcome: str) -> None:
        self._add(Subject.CACHE, outcome, 1)

    def take(self) -> Counts:
        """What was counted since the last time."""
        requests, self._requests = self._requests, {}
        for (dialect, status, source, verdict, bound), (count, seconds) in requests.items():
            n, micros = int(count), round(seconds * MICROS)
            self._add(Subject.DIALECT, dialect, n, micros)
            self._add(Subject.OUTCOME, outcome_of(status), n)
            name = str(LATENCY_BOUNDS_MS[bound]) if bound < len(_BOUNDS_S) else LONGER
            self._add(Subject.LATENCY, name, n, micros)
            if verdict:
                self._add(Subject.VERDICT, verdict, n)
                self._add(Subject.SOURCE, source, n, micros)
        taken, self._other = self._other, defaultdict(Tally)
        return taken

    def put_back(self, counts: Counts) -> None:
        """Counts that could not be stored."""
        for (subject, name), tally in counts.items():
            self._add(subject, name, tally.count, tally.total)

    def _add(self, subject: str, name: str, count: int, total: int = 0) -> None:
        tally = self._other[subject, name[:MAX_NAME_CHARACTERS]]
        tally.count += count
        tally.total += total


def outcome_of(status: int) -> Outcome:
    """By the status of a reply; a rate limit and a lack of credits are the client's, too."""
    if status < 400:
        return Outcome.ANSWERED
    return Outcome.REFUSED if status < 500 else Outcome.FAILED


def percentile_ms(counts: Counts, percent: float) -> float | None:
    """The latency that `percent` in a hundred requests stayed below; None without requests."""
    classes = [
        (float(name) if name != LONGER else float(LATENCY_BOUNDS_MS[-1]), tally.count)
        for (subject, name), tally in counts.items()
        if subject == Subject.LATENCY
    ]
    wanted = sum(count for _, count in classes) * percent / 100
    for bound, count in sorted(classes):
        wanted -= count
        if wanted <= 0:
            return bound
    return None
