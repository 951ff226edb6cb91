"""Histograms as CloudWatch takes them: values, and how often each occurred."""

from __future__ import annotations

import math
from itertools import pairwise

from agent.api import Histogram

MOST_VALUES = 150
"""Of one metric in one request; https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html"""
LARGEST = 2.0**360
SMALLEST = 1e-108
"""What is nearer to zero counts as zero: CloudWatch refuses values below 8.5e-109 that are not."""


def accepted(value: float) -> float:
    """The value, or the nearest one to it that CloudWatch accepts. NaN becomes zero."""
    if -SMALLEST < value < SMALLEST or value != value:
        return 0.0
    return min(max(value, -LARGEST), LARGEST)


def values_and_counts(histogram: Histogram) -> tuple[list[float], list[int]]:
    """A value for each bucket that is not empty, and its count; at most 150 of them.

    Each value lies within its bucket, all at the same share of the buckets' widths, and that share is chosen so that
    the sum of the observations comes out right: CloudWatch's Sum, Average and SampleCount are exact where observations
    are not negative, and a percentile is wrong by less than the width of its bucket. Of more than 150 buckets,
    neighbours are put together.
    """
    buckets = [bucket for bucket in _buckets(histogram) if bucket[2]]
    if not buckets:
        return [], []
    least = sum(low * count for low, _, count in buckets)
    room = sum((high - low) * count for low, high, count in buckets)
    share = (histogram.sum - least) / room if room > 0 else 0.0
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.5
    pairs = [(low + share * (high - low), count) for low, high, count in buckets]
    if share == 1.0 and histogram.counts[-1]:
        # What lies above the last bound lies further above it than was supposed.
        rest = histogram.sum - sum(value * count for value, count in pairs[:-1])
        pairs[-1] = (max(rest / pairs[-1][1], pairs[-1][0]), pairs[-1][1])
    if len(pairs) > MOST_VALUES:
        pairs = _merged(pairs)
    return [accepted(value) for value, _ in pairs], [count for _, count in pairs]


def _buckets(histogram: Histogram) -> list[tuple[float, float, int]]:
    """Each bucket's bounds and count. The first begins at zero, the last is taken to be as wide as its lower bound."""
    bounds, counts = histogram.bounds, histogram.counts
    if not bounds:
        mean = histogram.sum / counts[0] if counts[0] else 0.0
        return [(mean, mean, counts[0])]
    edges = (min(0.0, bounds[0]), *bounds, bounds[-1] + abs(bounds[-1]))
    return [(low, high, count) for (low, high), count in zip(pairwise(edges), counts, strict=True)]


def _merged(pairs: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Runs of neighbours as one, at their mean."""
    run = math.ceil(len(pairs) / MOST_VALUES)
    merged = []
    for start in range(0, len(pairs), run):
        some = pairs[start : start + run]
        count = sum(number for _, number in some)
        merged.append((sum(value * number for value, number in some) / count, count))
    return merged
