"""The recent latencies of a source."""

from __future__ import annotations

from collections import deque

EWMA_WEIGHT = 0.2
"""The weight of the newest latency in the moving mean."""
PERCENTILE_WINDOW = 100
"""The number of latencies that percentiles are taken of."""
MIN_SAMPLES = 20
"""With fewer latencies there is no percentile."""


class Latency:
    """A moving mean, and percentiles of the latest results."""

    def __init__(self) -> None:
        self.mean_s: float | None = None
        self._samples: deque[float] = deque(maxlen=PERCENTILE_WINDOW)

    def record(self, seconds: float) -> None:
        self._samples.append(seconds)
        mean = self.mean_s
        self.mean_s = seconds if mean is None else mean + EWMA_WEIGHT * (seconds - mean)

    def percentile_s(self, percent: float) -> float | None:
        """The latency that `percent` in a hundred stayed below; None while too few are known."""
        if len(self._samples) < MIN_SAMPLES:
            return None
        ordered = sorted(self._samples)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]
