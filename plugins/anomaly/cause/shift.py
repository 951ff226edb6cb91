"""How far a series moved, in units of its own usual spread, when, and what it was before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plugins.anomaly.cause.model import Meaning, Observed

Floats = NDArray[np.float64]

ONSET = 4.0  # spreads from the usual level: where a move begins
RECENT = 6  # rows before an incident that tell the level of today
NEVER_MOVED = 10.0  # spreads that the first move of a series counts that always was zero: there is no scale for it
FEW = 8  # rows: with fewer before an incident the spread is hardly known, and taken for larger


@dataclass(frozen=True, slots=True)
class Shift:
    """The move of one series.

    usual: the level before, `now`: the level while it was farthest off, both in the unit of the series.
    spreads: how far in units of the usual spread, with its sign. onset: Unix seconds of the first row that was off,
    None if none was.
    """

    observed: Observed
    usual: float
    now: float
    spreads: float
    onset: float | None


def shift_of(observed: Observed, weights: Floats | None = None) -> Shift | None:
    """The move of a series: the weighted mean of its rows during the incident against the rows before.

    The usual level is the nearer one of the median of all rows before and of the last rows before, since levels drift
    between long ago and now. The spread is IQR / 1.35 with a floor of 5 % of the level (half a percent for an
    availability) and 10 % of the standard deviation; few rows before make it wider. weights: one per row during the
    incident; none: the row farthest off counts. Returns None where nothing can be said.
    """
    times, values = _known(observed.during)
    _, before = _known(observed.before)
    if len(values) == 0 or len(before) == 0:
        return None
    low, middle, high = (float(v) for v in np.quantile(before, (0.25, 0.5, 0.75)))
    spread = (high - low) / 1.35 + 0.1 * float(before.std())
    spread += 0.5 if observed.meaning is Meaning.availability else 0.05 * abs(middle)
    if observed.meaning in (Meaning.requests, Meaning.errors):
        spread += np.sqrt(max(middle, 1.0)) / 2  # counts scatter by their root
    if spread <= 0:
        spread = max(float(np.abs(values - middle).max()) / NEVER_MOVED, 1e-9)
    spread *= 1 + FEW / len(before)
    last = level_right_before(observed, middle)
    if weights is not None:
        kept = weights[np.isfinite([value for _, value in observed.during])]
        now = float(np.average(values, weights=kept)) if kept.sum() > 0 else float(np.median(values))
    else:
        now = float(values[np.argmax(np.abs(values - middle))])
    usual = nearest(now, middle, last)
    off = np.abs(values - np.array([nearest(value, middle, last) for value in values])) > ONSET * spread
    onset = float(times[np.argmax(off)]) if off.any() else None
    return Shift(observed, usual, now, (now - usual) / spread, onset)


def level_right_before(observed: Observed, otherwise: float) -> float:
    """The median of the rows within RECENT row lengths before an incident, without those of another time."""
    times = [time for time, _ in observed.during]
    steps = np.diff(times if len(times) > 1 else [time for time, _ in observed.before[-3:]])
    if len(times) == 0 or len(steps) == 0:
        return otherwise
    start = times[0] - (RECENT + 0.5) * float(np.median(steps))
    before_times, values = _known(observed.before)
    recent = values[(before_times >= start) & (before_times < times[0])]
    return float(np.median(recent)) if len(recent) else otherwise


def nearest(value: float, *levels: float) -> float:
    """The level that is nearest to a value, or the value itself where it lies between them."""
    return min(max(value, min(levels)), max(levels))


def _known(points: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    rows = np.array(points, float).reshape(-1, 2)
    rows = rows[np.isfinite(rows[:, 1])]
    return rows[:, 0], rows[:, 1]
