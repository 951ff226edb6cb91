"""From what history has of a series to what a forecaster takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from agent.metrics.model import Kind

_DAY = 86_400.0
_LEAST, _MOST = 2 * _DAY, 35 * _DAY
_TIMES = 20.0


def span(horizon: float) -> float:
    """How much of the past, in seconds, tells of so many seconds ahead: many horizons, days where there is a day's
    season, five weeks where there is a week's."""
    return min(max(_TIMES * horizon, _LEAST), max(_MOST, 3 * horizon))


def points(kind: Kind, found: Iterable[tuple[float, float | None]]) -> Iterator[tuple[float, float]]:
    """Finite (time, value), times ascending; a counter, and a histogram's count, as rate per second.

    After a reset, what a counter has since then is its increase. Points whose clock went back are left out.
    """
    cumulative = kind in (Kind.counter, Kind.histogram)
    before: tuple[float, float] | None = None
    for at, value in found:
        if value is None or not math.isfinite(value) or not math.isfinite(at):
            continue
        if before is not None and at <= before[0]:
            continue
        if not cumulative:
            yield at, value
        elif before is not None:
            increase = value - before[1] if value >= before[1] else value
            yield at, increase / (at - before[0])
        before = (at, value)


def bounds(kind: Kind, unit: str) -> tuple[float | None, float | None]:
    """What values are possible: rates, bytes and ratios are never negative, ratios at most 1."""
    low = 0.0 if kind is not Kind.gauge or unit in ("bytes", "ratio") else None
    return low, 1.0 if kind is Kind.gauge and unit == "ratio" else None
