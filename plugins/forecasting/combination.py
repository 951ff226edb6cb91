"""The combination: every member is backtested on the series, and counts the more the less it erred there.

Weights from the errors of rolling origins (Bates & Granger 1969, here by the third power of the mean absolute error).
Intervals come from the errors that the combination itself made from those origins, each with weights that do not know
it: the scale of each horizon, times Student's quantile for as many origins as do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plugins.forecasting.arrays import Floats
from plugins.forecasting.members import members

_ORIGINS = 12
_POWER = 3.0
_LOCAL = 0.7  # how much the scale of a horizon is its own, not the line through all
_CALIBRATION = 0.92  # of the scale: errors have longer tails than Student's, which enlarge it. Tuned on M4's halves
_LEAST_FREEDOM = 5.0  # of Student's quantile: the rows of a stretch tell more than one number would
NORMAL80, NORMAL95 = 1.2815515655446004, 1.959963984540054


@dataclass(frozen=True)
class Combined:
    """mean, scale: (horizon,). quantile80, quantile95: how many scales an interval reaches to both sides.

    weights: of the members. periods: the seasons that they know of, in rows, shortest first. error: mean absolute error
    in the backtest. naive: that of the better of the last value and the last season. peaks: in each origin of the
    backtest, the actual peak minus the forecast one.
    """

    mean: Floats
    scale: Floats
    quantile80: float
    quantile95: float
    weights: dict[str, float]
    periods: tuple[int, ...]
    error: float
    naive: float
    peaks: Floats

    def interval(self, quantile: float) -> tuple[Floats, Floats]:
        """The lower and the upper end, each (horizon,)."""
        return self.mean - quantile * self.scale, self.mean + quantile * self.scale


def combine(values: Floats, horizon: int, periods: Sequence[int]) -> Combined:
    """Forecast `horizon` rows. values: (n,), finite, n at least 8. periods: seasons in rows (see seasons.usable)."""
    n = len(values)
    tested = max(1, min(horizon, n // 4))
    origins = [*_origins(n, tested, periods), n]
    paths = members(values, origins, horizon, periods)
    names = list(paths)
    stacked = np.array([paths[name] for name in names])  # (members, origins, horizon)
    actual = np.array([values[origin : origin + tested] for origin in origins[:-1]])
    absolute = np.abs(stacked[:, :-1, :tested] - actual).mean(axis=2)  # (members, origins)
    weights = _weights(absolute.mean(axis=1))
    errors = actual - _left_out(stacked[:, :-1, :tested], absolute)
    quantile80, quantile95 = (_student(z, _independent(origins, tested)) for z in (NORMAL80, NORMAL95))
    naive = [absolute[index].mean() for index, name in enumerate(names) if "naive" in name]
    backtest = actual - errors
    return Combined(
        mean=np.tensordot(weights, stacked[:, -1], 1),
        scale=_CALIBRATION * _extended(_scale(errors), horizon),
        quantile80=quantile80,
        quantile95=quantile95,
        weights=dict(zip(names, weights.tolist(), strict=True)),
        periods=tuple(periods),
        error=float(np.abs(errors).mean()),
        naive=float(min(naive)),
        peaks=actual.max(axis=1) - backtest.max(axis=1),
    )


def _origins(n: int, horizon: int, periods: Sequence[int]) -> list[int]:
    """Rolling origins, oldest first, whole short seasons apart where the horizon is as long."""
    first = max(n // 2, 2 * periods[-1] + horizon if periods else 0, 4)
    last = n - horizon
    natural = periods[0] * max(1, horizon // periods[0] // 2) if periods and horizon >= periods[0] else horizon
    stride = max(1, min(natural, (last - first) // (_ORIGINS - 1)))
    return list(range(last, max(first, last - stride * _ORIGINS), -stride))[::-1] or [last]


def _weights(errors: Floats) -> Floats:
    """From mean absolute errors, (members, …), along the first axis."""
    floor = 1e-9 * errors.max() + 1e-300
    raw = ((errors.min(axis=0) + floor) / (errors + floor)) ** _POWER
    return np.asarray(raw / raw.sum(axis=0))


def _left_out(paths: Floats, absolute: Floats) -> Floats:
    """The combination from each origin, (origins, horizon), with weights from the other ones."""
    origins = absolute.shape[1]
    if origins == 1:
        return np.asarray(np.tensordot(_weights(absolute[:, 0]), paths[:, 0], 1)[None, :])
    others = (absolute.sum(axis=1, keepdims=True) - absolute) / (origins - 1)
    return np.asarray(np.einsum("mo,moh->oh", _weights(np.maximum(others, 0.0)), paths))


def _scale(errors: Floats) -> Floats:
    """Root mean square error of each horizon, (horizon,): of its neighbourhood, and of a line that does not fall."""
    square = (errors**2).mean(axis=0)
    around = np.pad(np.vstack([square, np.ones_like(square)]), ((0, 0), (1, 1)))
    total, count = around[:, :-2] + around[:, 1:-1] + around[:, 2:]
    local = total / count
    return np.asarray(np.sqrt(_LOCAL * local + (1 - _LOCAL) * _rising(square)))


def _rising(square: Floats) -> Floats:
    ahead = np.arange(1.0, len(square) + 1)
    centred = ahead - ahead.mean()
    slope = centred @ square / max(centred @ centred, 1.0)
    if slope <= 0:
        return np.full(len(square), square.mean())
    if square.mean() - slope * ahead.mean() < 0:  # a line through the origin
        return np.asarray(ahead * (ahead @ square) / (ahead @ ahead))
    return np.asarray(square.mean() + slope * centred)


def _extended(scale: Floats, horizon: int) -> Floats:
    """Beyond what was tested, errors grow as those of a random walk do."""
    tested = len(scale)
    if horizon == tested:
        return scale
    beyond = np.arange(tested + 1, horizon + 1) / tested
    return np.concatenate([scale, max(scale[-1], np.sqrt((scale**2).mean())) * np.sqrt(beyond)])


def _independent(origins: Sequence[int], horizon: int) -> float:
    """How many of the backtest's stretches fit beside each other."""
    return 1.0 + (origins[-2] - origins[0]) / horizon


def _student(normal: float, freedom: float) -> float:
    """Student's quantile from the normal one (Cornish & Fisher's expansion; Abramowitz & Stegun 26.7.5)."""
    freedom = max(freedom, _LEAST_FREEDOM)
    first = (normal**3 + normal) / 4
    second = (5 * normal**5 + 16 * normal**3 + 3 * normal) / 96
    third = (3 * normal**7 + 19 * normal**5 + 17 * normal**3 - 15 * normal) / 384
    return normal + first / freedom + second / freedom**2 + third / freedom**3
