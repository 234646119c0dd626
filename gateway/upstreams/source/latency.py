"""How long a source has lately taken."""

from __future__ import annotations

from collections import deque

EWMA_WEIGHT = 0.2
"""Of the newest latency in the moving mean."""
PERCENTILE_WINDOW = 100
"""Latencies that a percentile is taken of."""
MIN_SAMPLES = 20
"""Below it there is no percentile."""


class Latency:
    """A moving mean, and percentiles of the latest answers."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        self._samples: deque[float] = deque(maxlen=PERCENTILE_WINDOW)

    def record(self, seconds: float) -> None:
        self._samples.append(seconds)
        mean = self.mean_s
        self.mean_s = seconds if mean is None else mean + EWMA_WEIGHT * (seconds - mean)

    def percentile_s(self, percent: float) -> float | None:
        """The latency that so many in a hundred stayed below; None while too few are known."""
        if len(self._samples) < MIN_SAMPLES:
            return None
        ordered = sorted(self._samples)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]
