"""Autoregressions with seasonal lags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plugins.forecasting.arrays import Floats

_RIDGE = 1e-3  # of the lags' mean square


def autoregress(values: Floats, origins: Sequence[int], horizon: int, lags: Sequence[int], window: int) -> Floats:
    """Forecasts from each origin (a number of rows, more than the largest lag), row after row; (origins, horizon).

    Ridge regression on lagged values. They and the target are taken relative to the mean of the `window` rows before
    the target, so that a shift of the level moves the forecast with it; with a window of 1 that is an autoregression
    of differences.
    """
    lag = np.array(sorted(set(lags)))
    n, reach = len(values), max(int(lag[-1]), window)
    total = np.concatenate([[0.0], np.cumsum(values)])
    rows = np.arange(reach, n)
    means = (total[rows] - total[rows - window]) / window
    design = values[rows[:, None] - lag] - means[:, None]
    target = values[rows] - means
    result = np.empty((len(origins), horizon))
    for index, origin in enumerate(origins):
        weights = _ridge(design[: origin - reach], target[: origin - reach])
        path = np.concatenate([values[origin - reach : origin], np.empty(horizon)])
        sum_ = path[reach - window : reach].sum()
        for row in range(reach, reach + horizon):
            mean = sum_ / window
            path[row] = mean + weights @ (path[row - lag] - mean)
            sum_ += path[row] - path[row - window]
        result[index] = path[reach:]
    return result


def _ridge(design: Floats, target: Floats) -> Floats:
    scale = np.sqrt((design**2).mean(axis=0))
    scale[scale <= 0.0] = 1.0  # such a lag has told nothing yet, and gets no weight
    scaled = design / scale
    gram = scaled.T @ scaled / len(target) + _RIDGE * np.eye(design.shape[1])
    return np.asarray(np.linalg.solve(gram, scaled.T @ target / len(target)) / scale)
