"""A histogram as New Relic's summary: count, sum, minimum and maximum of the interval.

Count and sum are exact. What the least and the greatest observation were, a histogram does not tell: the minimum is the
lower bound of the lowest bucket with observations, the maximum the upper bound of the highest. Above the last bound it
is what is left of the sum when all other observations were as small as their buckets allow, divided among those above.
The mean always lies between the two.
"""

from __future__ import annotations

from agent.api import Histogram


def summary_of(histogram: Histogram) -> tuple[int, float, float, float] | None:
    """(count, sum, minimum, maximum); None without observations."""
    counts, bounds = histogram.counts, histogram.bounds
    total = sum(counts)
    if total == 0:
        return None
    mean = histogram.sum / total
    taken = [index for index, count in enumerate(counts) if count]
    lowest, highest = taken[0], taken[-1]
    least = greatest = mean
    if bounds:
        least = bounds[lowest - 1] if lowest else min(0.0, bounds[0])
        greatest = bounds[highest] if highest < len(bounds) else _beyond(histogram)
    return total, float(histogram.sum), float(min(least, mean)), float(max(greatest, mean))


def _beyond(histogram: Histogram) -> float:
    *finite, beyond = histogram.counts
    lows = (min(0.0, histogram.bounds[0]), *histogram.bounds)
    left = histogram.sum - sum(low * count for low, count in zip(lows, finite, strict=False))
    return max(histogram.bounds[-1], left / beyond)
