"""The engine: takes rows of many series in, and tells how rare each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from plugins.anomaly.engine import bands, channels, flatline
from plugins.anomaly.engine.table import Array, Slots, Table

FIELDS: Final = {**channels.FIELDS, **bands.FIELDS, **flatline.FIELDS}
LARGEST: Final = 1e30  # what is larger is no measurement, and its square no number


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the engine says of one row each of some series; all arrays have one entry to a series.

    score: in [0, 1), the higher, the rarer; comparable between series. p_value: the tail probability behind it, 1 where
    the row is within everything that was. channel: an index into channels.KINDS. low, high: in which band the value
    was expected by that channel, in the series' unit; of a flatline, where the series was while it moved.
    usable: whether the value was a finite number below LARGEST; the rows that are not have score 0 and leave no trace.
    """

    score: Array
    p_value: Array
    channel: Array
    low: Array
    high: Array
    usable: Array


class Engine:
    """Robust records over several views of every series. See channels.py, bands.py and flatline.py."""

    def __init__(self) -> None:
        self.table = Table(FIELDS)

    def step(self, slots: Slots, time: Array, value: Array) -> Judgement:
        """One row of each of these series (no slot twice). time: Unix seconds; value: any float.

        What is said of a row depends on the rows before it alone. The clock may jump; a gap teaches nothing.
        """
        count = len(slots)
        usable = np.isfinite(value) & np.isfinite(time) & (np.abs(value) < LARGEST)
        score, p_value = np.zeros(count), np.ones(count)
        channel = np.zeros(count, np.intp)
        low, high = np.full(count, np.nan), np.full(count, np.nan)
        if usable.any():
            used = slots[usable]
            arrays = self.table.arrays
            holds = flatline.judge(arrays, used, value[usable])
            numbers, bases, proven = channels.observe(arrays, used, time[usable], value[usable])
            found = bands.judge(arrays, used, numbers, proven)
            each = np.arange(len(used))
            flat = holds.p_value < found.p_value
            base = bases[each, found.channel]
            # Where a channel's band says nothing of the value itself, the value's own band is shown.
            own = np.isnan(base) | flat
            shown, base = np.where(own, channels.VALUE, found.channel), np.where(own, 0.0, base)
            size = np.maximum(holds.size, found.size)
            score[usable] = size / (1 + size)
            p_value[usable] = np.where(flat, holds.p_value, found.p_value)
            channel[usable] = np.where(flat, channels.FLATLINE, found.channel)
            low[usable], high[usable] = found.low[each, shown] + base, found.high[each, shown] + base
        return Judgement(score, p_value, channel, low, high, usable)
