"""The forecasters that are combined, each by name; all are asked for every origin of the backtest at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from plugins.forecasting.arrays import Floats
from plugins.forecasting.regression import autoregress
from plugins.forecasting.smoothing import Grid, smooth

_STEPS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))
_GAINS = (0.05, 0.15, 0.4)  # of seasonal profiles
DAMPED = Grid.of((0.1, 0.3, 0.5, 0.7, 0.9, 1.0), (0.0, 0.05, 0.1, 0.2, 0.4), (0.8, 0.9, 0.97))
TREND = Grid.of((0.1, 0.3, 0.6, 1.0), (0.01, 0.05, 0.1, 0.3))
THETA = Grid.of(_STEPS)
ONE_SEASON = Grid.of((0.1, 0.3, 0.6, 0.9), (0.0, 0.05, 0.15), (0.9, 0.97), (0.0, 0.5), [_GAINS])
TWO_SEASONS = Grid.of((0.0, 0.01, 0.05, 0.2, 0.5), (0.0,), (1.0,), (0.0, 0.5, 0.8, 0.95), [_GAINS, _GAINS])
SHORT_SEASON = Grid.of((0.0, 0.02, 0.1, 0.4), (0.0,), (1.0,), (0.0, 0.6, 0.9), [(0.02, 0.1, 0.3, 0.6)])
THETA_LEVELS = (0.0, 0.1, 0.3, 0.6, 0.9)


def members(values: Floats, origins: Sequence[int], horizon: int, periods: Sequence[int]) -> dict[str, Floats]:
    """The forecasts of all, each of shape (origins, horizon); a row depends on the values before its origin only.

    periods: seasons in rows, shortest first, each with at least two of it and a horizon before the first origin.
    Positive series are also forecast as logarithms, where seasons and errors grow with the level.
    """
    found = {"naive": repeat(values, origins, horizon, 1)}
    for period in periods:
        found[f"seasonal naive {period}"] = repeat(values, origins, horizon, period)
    with np.errstate(over="ignore", invalid="ignore"):  # an autoregression may explode: _sane sees to that
        for name, forecast in _models(values, origins, horizon, periods):
            found[name] = forecast(values)
        if values.min() > 0:
            logarithms = np.log(values)
            for name, forecast in _models(values, origins, horizon, periods):
                found[f"log {name}"] = np.exp(forecast(logarithms))
    for name, paths in found.items():
        found[name] = _sane(paths, values, origins)
    return found


def repeat(values: Floats, origins: Sequence[int], horizon: int, period: int) -> Floats:
    """The last season again and again; with a period of 1 the last value."""
    return np.array([np.resize(values[origin - period : origin], horizon) for origin in origins])


def _models(
    values: Floats, origins: Sequence[int], horizon: int, periods: Sequence[int]
) -> Iterator[tuple[str, Callable[[Floats], Floats]]]:
    yield "damped trend", lambda x: smooth(x, origins, horizon, DAMPED)
    yield "trend", lambda x: smooth(x, origins, horizon, TREND)
    yield "theta", lambda x: smooth(x, origins, horizon, THETA, line=0.5)
    yield "drift", lambda x: smooth(x, origins, horizon, THETA, line=1.0)
    yield "AR(3)", lambda x: autoregress(x, origins, horizon, (1, 2, 3), 1)
    if not periods:
        return
    grid = TWO_SEASONS if len(periods) > 1 else ONE_SEASON
    theta = Grid.of(THETA_LEVELS, carry=(0.0, 0.5), seasons=[_GAINS] * len(periods))
    yield "seasonal smoothing", lambda x: smooth(x, origins, horizon, grid, periods)
    yield "seasonal theta", lambda x: smooth(x, origins, horizon, theta, periods, line=0.5)
    if len(periods) > 1:
        yield "short-season smoothing", lambda x: smooth(x, origins, horizon, SHORT_SEASON, periods[:1])
    lags = _lags(periods, origins[0])
    for window in (1, *periods):
        yield f"seasonal AR/{window}", partial(_autoregress, origins, horizon, lags, window)


def _autoregress(origins: Sequence[int], horizon: int, lags: Sequence[int], window: int, values: Floats) -> Floats:
    return autoregress(values, origins, horizon, lags, window)


def _lags(periods: Sequence[int], rows: int) -> list[int]:
    around = [lag for period in periods for lag in (period - 1, period, period + 1)]
    twice = [2 * periods[0], *([2 * periods[0] + 1] if len(periods) == 1 else [])]
    return [lag for lag in (1, 2, 3, 4, *around, *twice) if 0 < lag < rows / 2.2]


def _sane(paths: Floats, values: Floats, origins: Sequence[int]) -> Floats:
    """Within once the range so far beyond it, more where the horizon is long; never below 0 if nothing was."""
    result = np.empty_like(paths)
    for index, (origin, path) in enumerate(zip(origins, paths, strict=True)):
        low, high = values[:origin].min(), values[:origin].max()
        room = (high - low) * max(1.0, 2 * len(path) / origin)
        path = np.where(np.isfinite(path), path, values[origin - 1])
        result[index] = np.clip(path, low - room if low < 0 else max(low - room, 0.0), high + room)
    return result
