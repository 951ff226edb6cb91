"""The cache's fine latency scale, brought down to as many buckets as people look at.

The cache counts latencies in 128 buckets. Exported as they are, they would be 128 series per command; merged whole,
bucket by bucket, they keep their counts exact. So each coarse bound is one of the fine bounds, and only their number
shrinks.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from agent.api import Exemplar, Histogram

_ONE_TWO_FIVE = (digit * 10.0**exponent for exponent in range(-6, 0) for digit in (1, 2, 5))
TARGETS = (1e-7, 1.5e-7, 2.5e-7, 5e-7, *_ONE_TWO_FIVE, 1.0, 10.0)
"""Where bounds are wanted, in seconds: four below 1 µs, where a cache works, then 1, 2, 5, 10 µs … 1 s, and 10 s."""


class LatencyScale:
    """Merges counts on the cache's scale into counts on a coarser one.

    `fine` are the upper bounds of the cache's buckets in seconds, ascending, the last one infinite. `bounds` are the
    coarse ones, without infinity: of the fine bounds, those that lie nearest to `targets`.
    """

    def __init__(self, fine: Sequence[float], targets: Sequence[float] = TARGETS) -> None:
        if len(fine) < 2 or not math.isinf(fine[-1]) or any(low >= high for low, high in pairwise(fine)):
            raise ValueError("latency bounds must ascend and end with infinity")
        finite = fine[:-1]
        chosen = sorted({_nearest(finite, target) for target in targets})
        self.bounds = tuple(finite[index] for index in chosen)
        self.size = len(fine)
        self._fine = tuple(finite)
        self._ends = [0, *(index + 1 for index in chosen), len(fine)]

    def merge(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Counts per coarse bucket, one more than `bounds`, from counts per fine bucket."""
        if len(counts) != self.size:
            raise ValueError(f"{len(counts)} latency buckets where {self.size} were expected")
        below = [0, *accumulate(counts)]
        return tuple(below[end] - below[start] for start, end in pairwise(self._ends))

    def histogram(self, counts: Sequence[int], total: float, exemplars: tuple[Exemplar, ...] = ()) -> Histogram:
        """Of counts per fine bucket and the sum in seconds; with the fine buckets for who stores many at no cost."""
        fine = Histogram(self._fine, tuple(counts), total)
        return Histogram(self.bounds, self.merge(counts), total, exemplars, fine)


def _nearest(bounds: Sequence[float], target: float) -> int:
    """The index of the bound whose ratio to the target is nearest to 1."""
    above = min(bisect_left(bounds, target), len(bounds) - 1)
    below = max(above - 1, 0)
    if bounds[below] <= 0:
        return above
    return below if target / bounds[below] <= bounds[above] / target else above
