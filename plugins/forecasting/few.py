"""What can be said of a series that is too short for a backtest."""

from __future__ import annotations

import math

import numpy as np

from plugins.forecasting.arrays import Floats

# Student's quantile of 97.5 %, for 1, 2, … degrees of freedom (Abramowitz & Stegun, table 26.10)
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201)


def last_value(values: Floats, horizon: int) -> tuple[Floats, Floats, Floats]:
    """The last value again and again, and the ends of its 95 % interval, each (horizon,). values: (n,), finite, n ≥ 1.

    A random walk: errors grow with the square root of the rows ahead. How large a step is, is known from those that
    were, and the fewer they were the wider is Student's interval. Of rows that never moved, one row too, nothing of
    that is known; then the interval reaches to the nth part of the value: the more rows, the more it means.
    """
    n, last = len(values), float(values[-1])
    steps = np.diff(values)
    one = float(np.sqrt((steps**2).mean())) * _STUDENT[min(n - 1, len(_STUDENT)) - 1] if steps.any() else 0.0
    reach = (one or (abs(last) or 1.0) / n) * np.sqrt(np.arange(1.0, horizon + 1))
    low = 0.0 if values.min() >= 0 else -math.inf
    return np.full(horizon, last), np.maximum(last - reach, low), last + reach
