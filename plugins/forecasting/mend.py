"""What keeps a series from being forecast as it is, and what is done about it."""

from __future__ import annotations

import numpy as np

from plugins.forecasting.arrays import Floats

_JUMP = 12.0  # times the usual change, for a step of the level
_STAYS = 0.7  # of the step that is still there in the medians around it
_AROUND = 12  # rows on both sides that must show it


def level_shifts_moved(values: Floats) -> Floats:
    """The series with what lies before a step of the level moved by that step: seasons and growth are still learnt
    from it, and the step is not taken for either.

    A step is a change far larger than usual that stays: medians of the rows before and after it differ by it, too.
    """
    changes = np.diff(values)
    usual = np.median(np.abs(changes - np.median(changes))) * 1.4826
    if usual <= 0:
        usual = np.abs(changes).mean()
    moved = values.copy()
    for row in np.flatnonzero(np.abs(changes) > _JUMP * usual) + 1:
        if row < _AROUND or row > len(values) - _AROUND:
            continue
        step = np.median(values[row : row + _AROUND]) - np.median(values[row - _AROUND : row])
        inner = max(np.ptp(values[row : row + _AROUND]), np.ptp(values[row - _AROUND : row]))
        if abs(step) > _JUMP * usual and step * changes[row - 1] > 0 and inner < (1 - _STAYS) * abs(step) * 2:
            moved[:row] += step
    return moved
