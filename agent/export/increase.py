"""What counters and histograms counted on, and since when they count. No state; columns of values in, columns out."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import lt, sub
from typing import Any

from agent.metrics.model import Histogram


def all_finite(values: Sequence[float]) -> bool:
    """Whether none is NaN or infinite."""
    return math.isfinite(sum(values)) or all(map(math.isfinite, values))


def as_array(values: Sequence[float]) -> Sequence[float]:
    """Eight bytes for each; a whole number beyond what a float can hold counts as infinite."""
    try:
        return array("d", values)
    except OverflowError:
        return array("d", [math.inf if isinstance(value, int) and abs(value) > 2**1023 else value for value in values])


def differences(now: Sequence[float], before: Sequence[float | None]) -> list[Any]:
    """What each counter counted on; None for one of which nothing was known."""
    if None not in before:
        plain = list(map(sub, now, before))
        if not plain or (min(plain) >= 0 and math.isfinite(sum(plain))):
            return plain
    return [_counted(new, old) for new, old in zip(now, before, strict=True)]


def _counted(now: float, before: float | None) -> float | None:
    if before is None:
        return None
    return now - before if now >= before or not math.isfinite(now) else now


def difference(now: Histogram, before: Histogram | None) -> Histogram | None:
    """What was observed since; None when nothing was known, or of other buckets."""
    if before is None or before.bounds != now.bounds:
        return None
    counts = tuple(map(sub, now.counts, before.counts))
    if counts and min(counts) < 0:
        return now
    return Histogram(now.bounds, counts, now.sum - before.sum)


def moved(
    starts: array[float], gauges: int, now: Sequence[float], before: Sequence[float | None], time: float
) -> array[float]:
    """The starts, moved to `time` for counters that have begun anew."""
    if all(old is None or new >= old for new, old in zip(now, before, strict=True)):
        return starts
    changed = starts[:]
    for index, (new, old) in enumerate(zip(now, before, strict=True), gauges):
        if old is not None and new < old:
            changed[index] = time
    return changed


def moved_histograms(
    starts: array[float], now: Sequence[Histogram], before: Sequence[Histogram | None], time: float
) -> array[float]:
    """As `moved`, for histograms, which begin anew with other buckets, too."""
    changed = starts
    for index, (new, old) in enumerate(zip(now, before, strict=True)):
        if old is not None and (old.bounds != new.bounds or any(map(lt, new.counts, old.counts))):
            changed = starts[:] if changed is starts else changed
            changed[index] = time
    return changed
