"""Values of any size that a float has: series near its limits are brought to 1, and forecasts of them back."""

from __future__ import annotations

import math

import numpy as np

from plugins.forecasting.arrays import Floats

_LARGEST, _SMALLEST = 1e100, 1e-100  # of which the third powers of errors are still numbers, and not 0


def exponent_of(values: Floats) -> int:
    """The power of two that brings the largest to between 0.5 and 1; 0, none, for a usual size. Only finite ones count.

    A power of two, since dividing by it costs no digit.
    """
    size = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    return 0 if size == 0 or _SMALLEST <= size <= _LARGEST else math.frexp(size)[1]


def times_two_to(values: Floats, exponent: int) -> Floats:
    """values · 2 ** exponent, where it is no float the farthest one."""
    if exponent == 0:
        return values
    furthest = np.finfo(float).max
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.clip(np.ldexp(values, exponent), -furthest, furthest), float)
