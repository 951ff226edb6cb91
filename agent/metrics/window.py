"""What became of a series over a window of time: aggregates of the points that History gives.

All take points as (Unix seconds, value), oldest first, and give None where the points do not say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from agent.metrics.model import Histogram

Points = Sequence[tuple[float, float]]


def average(points: Points) -> float | None:
    """The mean of the values."""
    return sum(value for _, value in points) / len(points) if points else None


def minimum(points: Points) -> float | None:
    """The smallest value."""
    return min((value for _, value in points), default=None)


def maximum(points: Points) -> float | None:
    """The largest value."""
    return max((value for _, value in points), default=None)


def last(points: Points) -> float | None:
    """The newest value."""
    return points[-1][1] if points else None


def increase(points: Points) -> float | None:
    """By how much a counter grew between the first point and the last, without extrapolation.

    A value below the one before is a reset: what it shows then has been counted since 0.
    """
    if len(points) < 2:
        return None
    return sum(after - before if after >= before else after for (_, before), (_, after) in pairwise(points))


def rate(points: Points) -> float | None:
    """By how much a counter grew in a second, on the average between the first point and the last."""
    grown = increase(points)
    seconds = points[-1][0] - points[0][0] if points else 0.0
    return None if grown is None or seconds <= 0 else grown / seconds


def rates(points: Points) -> list[tuple[float, float]]:
    """A counter as its rate from each point to the next, at the time of the latter."""
    return [
        (time, (value - before if value >= before else value) / (time - since))
        for (since, before), (time, value) in pairwise(points)
        if time > since
    ]


AGGREGATES: dict[str, Callable[[Points], float | None]] = {
    "avg": average,
    "min": minimum,
    "max": maximum,
    "last": last,
    "increase": increase,
    "rate": rate,
}
"""The aggregates by the names that they have in rules."""


def observed(points: Sequence[tuple[float, Histogram]]) -> Histogram | None:
    """What a histogram observed between the first point and the last, resets and new bounds taken as a start from 0.

    None for fewer than two points.
    """
    if len(points) < 2:
        return None
    newest = points[-1][1]
    counts, total = [0] * len(newest.counts), 0.0
    for (_, before), (_, after) in pairwise(points):
        if after.bounds != newest.bounds:
            continue
        reset = before.bounds != after.bounds or any(b > a for b, a in zip(before.counts, after.counts, strict=True))
        was = (0,) * len(counts) if reset else before.counts
        counts = [count + now - then for count, now, then in zip(counts, after.counts, was, strict=True)]
        total += after.sum - (0.0 if reset else before.sum)
    return Histogram(newest.bounds, tuple(counts), total)


def quantile(histogram: Histogram, share: float) -> float | None:
    """The value that this share (0 to 1) of the observations does not exceed, by linear interpolation in its bucket, as
    Prometheus' histogram_quantile does; above the last bound, the last bound. None for no observations or bounds."""
    if not histogram.bounds or not histogram.count:
        return None
    rank, below, low = share * histogram.count, 0, min(0.0, histogram.bounds[0])
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        if count and below + count >= rank:
            return low + (bound - low) * max(0.0, rank - below) / count
        below, low = below + count, bound
    return histogram.bounds[-1]
