"""A histogram as the values of a distribution.

Datadog makes its own sketch of a distribution from single values; its API takes no weights. So each bucket is sent as
one value, as often as there were observations in it, up to `most` values in all. What that loses:

- A value lies in the bucket of its observation. Where in it is chosen so that the mean of all values is the mean of
  all observations: that much of each bucket's width, the same share in all, as makes the sum come true.
- Observations above the last bound become one value: what is left of the sum for each of them, at least that bound.
- With more than `most` observations, their ranks are kept: a quantile q of the values is the observations' quantile
  between q - 3/most and q + 3/most. The lowest and the highest bucket that have observations have a value.
"""

from __future__ import annotations

import math
from functools import lru_cache

from agent.api import Histogram


def values_of(histogram: Histogram, most: int) -> list[tuple[float, int]]:
    """(value, how often) for each bucket with observations, ascending. `most` is at least 10."""
    counts = histogram.counts
    total = sum(counts)
    if total == 0:
        return []
    points = _points(histogram)
    if total > most:
        counts = _thinned(counts, total, most - 2)
    return [(point, count) for point, count in zip(points, counts, strict=True) if count]


@lru_cache(maxsize=64)
def _edges(bounds: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Lower bounds and widths of all buckets but the one without an end. What is measured is rarely negative: the first
    bucket begins at 0, unless it ends there or below."""
    lows = (min(0.0, bounds[0]), *bounds[:-1]) if bounds else ()
    return lows, tuple(high - low for low, high in zip(lows, bounds, strict=True))


def _points(histogram: Histogram) -> list[float]:
    lows, widths = _edges(histogram.bounds)
    *finite, beyond = histogram.counts
    least = sum(low * count for low, count in zip(lows, finite, strict=True))
    spread = sum(width * count for width, count in zip(widths, finite, strict=True))
    share = 0.5
    if not beyond and spread > 0:
        share = min(1.0, max(1e-6, (histogram.sum - least) / spread))  # at 0 it would be in the bucket before
    points = [low + share * width for low, width in zip(lows, widths, strict=True)]
    last = histogram.bounds[-1] if histogram.bounds else histogram.sum / histogram.count
    if beyond:
        last = max(math.nextafter(last, math.inf), (histogram.sum - least - share * spread) / beyond)
    points.append(last)
    return points


def _thinned(counts: tuple[int, ...], total: int, most: int) -> tuple[int, ...]:
    """`most` values, two more at the most, whose ranks are those of the observations."""
    thinned, seen, given = [], 0, 0
    for count in counts:
        seen += count
        until = (2 * most * seen + total) // (2 * total)  # most * seen / total, rounded
        thinned.append(until - given)
        given = until
    taken = [index for index, count in enumerate(counts) if count]
    for end in (taken[0], taken[-1]):
        thinned[end] = max(1, thinned[end])
    return tuple(thinned)
