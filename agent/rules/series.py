"""Series as conditions see them: chosen by labels, joined into groups, and what came of each over a window."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise

from agent.metrics.model import Histogram, MetricSpec, SeriesKey
from agent.rules.extension import Now

Group = tuple[tuple[str, str], ...]
"""Label names and values, in the order of the spec, of the series that a condition looks at together."""
Labels = Mapping[str, str | tuple[str, ...]]
_ESCAPED = str.maketrans({"\\": "\\\\", ",": "\\,"})


def is_pattern(text: str) -> bool:
    """Whether a label's value is a shell pattern."""
    return any(sign in text for sign in "*?[")


def is_fixed(wanted: str | tuple[str, ...]) -> bool:
    """Whether it can only be one value."""
    return isinstance(wanted, str) and not is_pattern(wanted)


def matches(spec: MetricSpec, key: SeriesKey, labels: Labels) -> bool:
    """Whether a series has these labels: each a value, a shell pattern, or several of them."""
    values = dict(zip(spec.labels, key[1], strict=False))
    for name, wanted in labels.items():
        choices = (wanted,) if isinstance(wanted, str) else wanted
        if not any(fnmatchcase(values.get(name, ""), choice) for choice in choices):
            return False
    return True


def grouping(spec: MetricSpec, labels: Labels, by: Sequence[str] | None) -> tuple[str, ...]:
    """The labels by which series are told apart: those asked for, or all that `labels` does not fix."""
    if by is not None:
        return tuple(name for name in spec.labels if name in by)
    return tuple(name for name in spec.labels if not (name in labels and is_fixed(labels[name])))


def groups(now: Now, spec: MetricSpec, labels: Labels, by: Sequence[str] | None) -> dict[Group, list[SeriesKey]]:
    """The series of a metric that have these labels, by group; of those that history knows and those there are now."""
    names = grouping(spec, labels, by)
    found: dict[Group, list[SeriesKey]] = {}
    keys = [key for key in now.snapshot.samples if key[0] == spec.name]
    for key in dict.fromkeys((*keys, *now.history.keys(spec.name))):
        if len(key[1]) == len(spec.labels) and matches(spec, key, labels):
            values = dict(zip(spec.labels, key[1], strict=True))
            found.setdefault(tuple((name, values[name]) for name in names), []).append(key)
    return found


def subject_of(group: Group) -> str:
    """A group as the target of a rule: "tenant:shop"; "" for one without labels. No two groups have the same: a comma
    or a backslash in a value stands behind a backslash."""
    return ",".join(f"{name}:{value.translate(_ESCAPED)}" for name, value in group)


def latest(now: Now, key: SeriesKey) -> float | None:
    """The value in the newest snapshot; a histogram's is its count."""
    sample = now.snapshot.samples.get(key)
    if sample is None:
        return None
    value = float(sample.value.count) if isinstance(sample.value, Histogram) else float(sample.value)
    return value if math.isfinite(value) else None


def points_of(now: Now, key: SeriesKey, window: float) -> list[tuple[float, float]]:
    """(time, value) within the window before now, oldest first, finite ones only; empty while less than half of the
    window is known."""
    found = [
        (time, value) for time, value in now.history.points(key, now.time - window, now.time) if math.isfinite(value)
    ]
    newest = latest(now, key)
    if newest is not None and (not found or found[-1][0] < now.snapshot.time <= now.time):
        found.append((now.snapshot.time, newest))
    return found if found and found[0][0] <= now.time - window / 2 else []


def increase(points: Sequence[tuple[float, float]]) -> float:
    """By how much a counter grew; where it fell it began anew, from 0."""
    return sum(after - before if after >= before else after for (_, before), (_, after) in pairwise(points))


def rate(points: Sequence[tuple[float, float]]) -> float | None:
    """Increase per second, over the time between the first and the last point."""
    elapsed = points[-1][0] - points[0][0] if len(points) > 1 else 0.0
    return increase(points) / elapsed if elapsed > 0 else None


def quantile_of(values: Sequence[float], share: float) -> float | None:
    """The quantile of some values, linear between the nearest two (type 7 of Hyndman and Fan, 1996)."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def histogram_increase(points: Sequence[tuple[float, Histogram]]) -> Histogram | None:
    """The observations within a window, from cumulative histograms; where the count fell it began anew."""
    if len(points) < 2:
        return None
    bounds = points[-1][1].bounds
    counts, total = [0] * (len(bounds) + 1), 0.0
    for (_, before), (_, after) in pairwise(points):
        if after.bounds != bounds:
            continue
        same = before.bounds == bounds and all(b <= a for b, a in zip(before.counts, after.counts, strict=True))
        base: Iterable[int] = before.counts if same else [0] * len(counts)
        counts = [count + a - b for count, a, b in zip(counts, after.counts, base, strict=True)]
        total += after.sum - (before.sum if same else 0.0)
    return Histogram(bounds, tuple(counts), total)


def histogram_quantile(histogram: Histogram, share: float) -> float | None:
    """As PromQL's histogram_quantile: linear within the bucket; above the last bound, that bound."""
    total = histogram.count
    if total == 0 or not histogram.bounds:
        return None
    rank, below = share * total, 0
    for index, count in enumerate(histogram.counts[:-1]):
        if count and below + count >= rank:
            high = histogram.bounds[index]
            low = histogram.bounds[index - 1] if index else min(0.0, high)
            return low + (high - low) * max(0.0, rank - below) / count
        below += count
    return histogram.bounds[-1]


def histograms_of(now: Now, key: SeriesKey, window: float) -> list[tuple[float, Histogram]]:
    """(time, histogram) within the window before now, oldest first; empty while less than half of it is known."""
    found = list(now.history.histogram_points(key, now.time - window, now.time))
    sample = now.snapshot.samples.get(key)
    if sample is None or not isinstance(sample.value, Histogram):
        return []
    if not found or found[-1][0] < now.snapshot.time <= now.time:
        found.append((now.snapshot.time, sample.value))
    return found if found and found[0][0] <= now.time - window / 2 else []


def together(histograms: Sequence[Histogram]) -> Histogram | None:
    """Several histograms with the same bounds as one; those with others than the first has are left out."""
    if not histograms:
        return None
    same = [histogram for histogram in histograms if histogram.bounds == histograms[0].bounds]
    counts = tuple(map(sum, zip(*(histogram.counts for histogram in same), strict=True)))
    return Histogram(histograms[0].bounds, counts, sum(histogram.sum for histogram in same))


JOINS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
}
"""How the series of a group become one number."""


def psi(expected: Sequence[float], actual: Sequence[float], bins: int = 10) -> float:
    """The population stability index between two samples, over quantile bins of the first.

    Source: Siddiqi, "Credit Risk Scorecards", 2006; below 0.1 nothing has changed, above 0.25 a lot has. What lies
    below or above all of the first sample has bins of its own. Empty bins count as half an observation.
    """
    ordered = sorted(expected)
    edges = sorted({quantile_of(ordered, index / bins) or 0.0 for index in range(1, bins + 1)})
    shares = []
    for values in (ordered, sorted(actual)):
        cuts = [bisect_left(values, ordered[0]), *(bisect_right(values, edge) for edge in edges)]
        counts = [after - before for before, after in pairwise([0, *cuts, len(values)])]
        shares.append([max(count, 0.5) / len(values) for count in counts])
    return math.fsum((a - e) * math.log(a / e) for e, a in zip(*shares, strict=True))
