"""Exponential smoothing: all parameter sets of a grid at once, in one pass over the series.

The state after a row depends on the rows before it only, so that one pass serves every origin of a backtest. Which
parameters are right for an origin is read from the errors of their paths before it, and the paths of the best few are
averaged, which is steadier than the single best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from plugins.forecasting.arrays import Floats

_BEST = 5  # parameter sets whose paths are averaged
_LOOKS = 60  # rows at which the paths of all sets are compared with what came


@dataclass(frozen=True)
class Grid:
    """Parameter sets, each an array (sets,): gains of level and slope, damping of the slope, carry of the last error,
    and the gain of each seasonal profile."""

    level: Floats
    slope: Floats
    damping: Floats
    carry: Floats
    seasons: tuple[Floats, ...]

    @classmethod
    def of(
        cls,
        level: Sequence[float],
        slope: Sequence[float] = (0.0,),
        damping: Sequence[float] = (1.0,),
        carry: Sequence[float] = (0.0,),
        seasons: Sequence[Sequence[float]] = (),
    ) -> Grid:
        """All combinations of these values."""
        columns = np.array(list(product(level, slope, damping, carry, *seasons)), dtype=float).T
        return cls(columns[0], columns[1], columns[2], columns[3], tuple(columns[4:]))


def smooth(
    values: Floats,
    origins: Sequence[int],
    horizon: int,
    grid: Grid,
    periods: Sequence[int] = (),
    line: float = 0.0,
) -> Floats:
    """Forecasts from each origin (a number of rows, the first of them at least two of the longest period), shape
    (origins, horizon): additive level, damped slope (Gardner & McKenzie 1985) and seasons.

    With two periods and `carry` it is Taylor's double seasonal method (2003) with its AR(1) adjustment. `line` adds
    that share of the slope of the straight line through all rows before the origin: with a level alone and 0.5 that is
    the Theta method (Assimakopoulos & Nikolopoulos 2000; as drift: Hyndman & Billah 2003).
    """
    n, ahead = len(values), np.arange(1, horizon + 1)
    state = _State(values[: _warm(n, periods)], grid, periods)
    slopes = _slopes(values) if line else np.zeros(n + 1)
    looks = _looks(n, horizon, state.warm)
    errors, paths = [], {}
    for row in range(n + 1):
        if row in looks or row in origins:
            path = state.path(row, ahead) + line * slopes[row] * ahead
            if row in looks:
                errors.append(np.abs(path - values[row : row + horizon]).mean(axis=1))
            if row in origins:
                paths[row] = path
        if row < n:
            state.update(row, values[row])
    result = np.empty((len(origins), horizon))
    for index, origin in enumerate(origins):
        known = [error for row, error in zip(looks, errors, strict=True) if row + horizon <= origin]
        best = np.argsort(np.mean(known, axis=0), kind="stable")[:_BEST] if known else slice(None)
        result[index] = paths[origin][best].mean(axis=0)
    return result


class _State:
    def __init__(self, first: Floats, grid: Grid, periods: Sequence[int]) -> None:
        sets = len(grid.level)
        self.warm = len(first)
        self._grid, self._periods = grid, periods
        self._level, self._slope, self._last = np.full(sets, first.mean()), np.zeros(sets), np.zeros(sets)
        self._seasons: list[Floats] = []
        rest = first - first.mean()
        for period in periods:
            phase = np.arange(len(rest)) % period
            profile = np.bincount(phase, rest, period) / np.bincount(phase, minlength=period)
            rest = rest - profile[phase]
            self._seasons.append(np.repeat(profile[:, None], sets, axis=1))

    def update(self, row: int, value: float) -> None:
        grid = self._grid
        expected = self._level + grid.damping * self._slope
        error = value - expected
        for period, season in zip(self._periods, self._seasons, strict=True):
            error = error - season[row % period]
        shock = error - grid.carry * self._last
        self._level = expected + grid.level * shock
        self._slope = grid.damping * self._slope + grid.slope * shock
        for period, season, gain in zip(self._periods, self._seasons, grid.seasons, strict=True):
            season[row % period] += gain * shock
        self._last = error

    def path(self, row: int, ahead: npt.NDArray[np.int_]) -> Floats:
        grid = self._grid
        damped = np.cumsum(grid.damping[:, None] ** ahead, axis=1)
        path = self._level[:, None] + self._slope[:, None] * damped + self._last[:, None] * grid.carry[:, None] ** ahead
        for period, season in zip(self._periods, self._seasons, strict=True):
            path += season[(row + ahead - 1) % period].T
        return np.asarray(path)


def _warm(n: int, periods: Sequence[int]) -> int:
    """Rows from which the first state is taken."""
    return 2 * periods[-1] if periods else max(1, min(4, n // 3))


def _looks(n: int, horizon: int, warm: int) -> list[int]:
    stride = max(1, (n - horizon - warm) // _LOOKS)
    return list(range(n - horizon, warm - 1, -stride))[::-1]


def _slopes(values: Floats) -> Floats:
    """Slope of the line through the first k rows, for k = 0 … n; shape (n + 1,)."""
    rows = np.arange(len(values) + 1, dtype=float)
    total = np.concatenate([[0.0], np.cumsum(values)])
    moment = np.concatenate([[0.0], np.cumsum(values * rows[:-1])])
    spread = rows * (rows**2 - 1) / 12
    return np.asarray((moment - total * (rows - 1) / 2) / np.where(spread > 0, spread, 1.0))
