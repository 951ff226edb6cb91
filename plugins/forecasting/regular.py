"""From points at any times to rows of one step: which step, and what becomes of gaps and of the last few moments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from agent.api import ForecastRequest
from plugins.forecasting.arrays import Floats
from plugins.forecasting.forecaster import LEAST_ROWS

MOST_ROWS = 2000  # of history: older ones are left out
MOST_AHEAD = 200  # rows of a forecast whose step is not given
MOST_AHEAD_GIVEN = 2000
_NICE = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800)
_MOST_MISSING = 0.5


class TooLittle(Exception):
    """There can be no forecast; the message says why, in a sentence."""


@dataclass(frozen=True)
class Regular:
    """values: (n,), one a step; the last is what was up to `end` (Unix seconds). gaps: the share that was missing."""

    values: Floats
    step: float
    end: float
    gaps: float


def regular(request: ForecastRequest) -> Regular:
    """Means of the points in each step, counted back from the last point. Gaps are filled from the season before where
    there is one in the day, else by lines. Raises TooLittle."""
    times, values = _finite(request)
    span = float(times[-1] - times[0]) if len(times) else 0.0
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if len(times) < LEAST_ROWS:
        few = "1 point is" if len(times) == 1 else f"{len(times)} points are"
        back = _come_back(request, usual, span, (LEAST_ROWS - len(times)) * usual) if usual else ""
        raise TooLittle(f"{few} too few: it takes {LEAST_ROWS} at least{back}")
    if 2 * span < request.horizon:
        raise TooLittle(
            f"{_time(span)} of history are too little for {_time(request.horizon)} ahead: it takes half as much"
            + _come_back(request, usual, span, 0.0)
        )
    step = request.step if request.step is not None else _step(usual, span, request.horizon)
    if request.horizon / step > MOST_AHEAD_GIVEN:
        raise TooLittle(f"a step of {_time(step)} is too short for {_time(request.horizon)} ahead")
    # Bins end at the last point: then the newest is a whole one, too.
    age = np.floor((times[-1] - times) / step + (0.5 if step <= usual * 1.5 else 0.0)).astype(int)
    age, values = age[age < MOST_ROWS], values[age < MOST_ROWS]
    rows = int(age.max()) + 1
    index = rows - 1 - age
    count = np.bincount(index, minlength=rows)
    total = np.bincount(index, values, rows)
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    gaps = float(np.isnan(means).mean())
    if rows < LEAST_ROWS:
        back = _come_back(request, usual, span, 0.0)
        raise TooLittle(f"{rows} rows of {_time(step)} are too few: it takes {LEAST_ROWS} at least{back}")
    if gaps > _MOST_MISSING:
        raise TooLittle(f"{gaps:.0%} of the time since {_time(span)} ago there were no points")
    return Regular(_filled(means, round(86_400 / step)), step, float(times[-1]), gaps)


def _come_back(request: ForecastRequest, usual: float, span: float, wait: float) -> str:
    """What to do about too little history: when there will be enough for this horizon, and which one is possible now,
    or once there is enough for any. usual: seconds between points. wait: until there are enough points."""
    wait = max(wait, _missing(request, usual, span, 0.0))
    horizon, later = request.horizon, max(wait, _missing(request, usual, span, request.horizon))
    short, sooner = _floor(2 * (span + wait))
    if not 0 < short < horizon or _missing(request, usual, span, short) > wait:
        return f"; come back in {_time(later)}"
    if wait == 0:
        return f"; come back in {_time(later)}, or ask for a horizon of {sooner}"
    return f"; come back in {_time(wait)} for a horizon of {sooner}, in {_time(later)} for {_time(horizon)}"


def _missing(request: ForecastRequest, usual: float, span: float, horizon: float) -> float:
    """Seconds of history that are missing for a horizon: half of it, and LEAST_ROWS steps."""
    step = request.step if request.step is not None else _step(usual, max(span, horizon / 2), horizon)
    return max(horizon / 2 - span, (LEAST_ROWS - 1) * step - span, 0.0)


def _finite(request: ForecastRequest) -> tuple[Floats, Floats]:
    """Points with numbers, in the order of time, one for each time: clocks jump."""
    times, values = np.asarray(request.times, float), np.asarray(request.values, float)
    good = np.isfinite(times) & np.isfinite(values)
    times, first = np.unique(times[good][::-1], return_index=True)
    return times, values[good][::-1][first]


def _step(usual: float, span: float, horizon: float) -> float:
    for nice in _NICE:
        if nice >= 0.9 * usual and horizon / nice <= MOST_AHEAD and span / nice <= MOST_ROWS:
            return float(nice)
    return float(max(usual, horizon / MOST_AHEAD, span / MOST_ROWS))


def _filled(values: Floats, day: int) -> Floats:
    missing = np.isnan(values)
    if not missing.any():
        return values
    rows = np.arange(len(values))
    filled = values.copy()
    known = ~missing
    filled[missing] = np.interp(rows[missing], rows[known], values[known])
    if 4 <= day <= len(values) // 2:  # a long gap by the day before: a line would flatten the season
        for start, stop in _runs(missing):
            if stop - start > day // 4 and start >= day:
                for row in range(start, stop):
                    filled[row] = filled[row - day]
    return filled


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _floor(seconds: float) -> tuple[float, str]:
    """A round time that is not longer, and how options have it: 119.5 → (119, "119s")."""
    for unit, name in ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s")):
        if seconds >= 2 * unit:
            return seconds // unit * unit, f"{seconds // unit:.0f}{name}"
    return 0.0, ""


def _time(seconds: float) -> str:
    for unit, name in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{math.ceil(seconds)} s"
