"""The recent latencies of a source, and how long it is waited for."""

from __future__ import annotations

from collections import deque

EWMA_WEIGHT = 0.2
"""The weight of the newest latency in the moving mean."""
PERCENTILE_WINDOW = 100
"""The number of latencies that percentiles are taken of."""
MIN_SAMPLES = 20
"""With fewer latencies there is no percentile."""
RANK_EVERY = 10
"""Percentiles are computed anew after so many latencies."""


class Latency:
    """A moving mean, and percentiles of the latest results."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        self._samples: deque[float] = deque(maxlen=PERCENTILE_WINDOW)
        self._ordered: list[float] = []
        self._unranked = 0

    def record(self, seconds: float) -> None:
        self._samples.append(seconds)
        self._unranked += 1
        mean = self.mean_s
        self.mean_s = seconds if mean is None else mean + EWMA_WEIGHT * (seconds - mean)

    def percentile_s(self, percent: float, min_samples: int = MIN_SAMPLES) -> float | None:
        """The latency that `percent` in a hundred stayed below; None while too few are known."""
        count = len(self._samples)
        if count < min_samples:
            return None
        if self._unranked >= RANK_EVERY or len(self._ordered) < min(count, MIN_SAMPLES):
            self._ordered, self._unranked = sorted(self._samples), 0
        ordered = self._ordered
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]
