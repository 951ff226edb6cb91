"""Flatlines: a series that used to move and now repeats exactly the same value for implausibly long.

A run is a stretch of rows with the same value. Of exchangeable runs the next is longer than all n before with
probability 1 / (n + 1), and at least r times as long as the longest with about r^-a more, where the exponent a of the
tail is estimated from the series' own runs (Hill, "A simple general approach to inference about the tail of a
distribution", 1975). So a series that moves with each row is missed after a few minutes, one that changes now and then
after as many hours, and one that never moves not at all.

What stands still for good reasons is left alone:
- at zero, and at the edge of where the series was: idle, or full;
- where there are few runs, or the run is no small part of what is known: then it may be how the series is;
- before a day is known: what rests at night has not been seen to yet.

A run is looked at each time that it is twice as long as when it was looked at last, so that each is few tests. It has
a size at the first of these looks alone: what lasts is no news. Later ones make it rarer, for those who wait for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from plugins.anomaly.engine.bands import LONG, PRIOR_SIZE
from plugins.anomaly.engine.channels import DAY, Pace
from plugins.anomaly.engine.table import Array, Field, Slots

LEAST_ROWS: Final = 12  # of a run that is told
LEAST_RUNS: Final = 30  # before it
LONGER: Final = 2.0  # times as long as the longest of them, at least
KNOWN: Final = 10  # times as many rows as the run has, before it
EDGE: Final = 0.25  # usual deviations from the level: so near to an edge of its bands a series rests
PRIOR_RUNS, PRIOR_EXPONENT = 4.0, 2.0  # what is taken for granted of the tail before there are runs
SHORTEST: Final = 1.5  # rows where the tail begins: between the runs of one row, and those that are longer
RECORDS: Final = (
    0.1  # the share of rows that are records of some size in a usual series: the median of the recorded ones
)

FIELDS: Final = {
    "held": Field(np.float32),  # rows of the run that lasts
    "resting": Field(np.bool_),  # whether it is at zero or at an edge
    "longest": Field(np.float32),  # rows of the longest run before, slowly forgotten
    "runs": Field(np.float32),  # how many there were, forgotten likewise
    "repeats": Field(np.float32),  # those of at least two rows
    "logs": Field(np.float32),  # the sum of log(rows / SHORTEST) of these
}


@dataclass(frozen=True, slots=True)
class Holds:
    """What came of one row of each series. size: of a record that is as rare (see bands.py), 0 for none.
    p_value: 1 where the value moved, or stands still for no longer than it may."""

    size: Array
    p_value: Array


def judge(arrays: dict[str, Array], slots: Slots, value: Array) -> Holds:
    """Compares how long these series have had their value with their earlier runs, then takes the new row in.

    To be called before `channels.observe`: `rows`, `value`, the scale and the bands are those of before the row.
    """
    s = {name: arrays[name][slots].astype(np.float64) for name in FIELDS}
    rows, before = arrays["rows"][slots], arrays["value"][slots]
    same = (rows > 0) & (value == before)
    over = (rows > 0) & ~same
    long_run = over & (s["held"] > SHORTEST)
    pace = Pace(rows + 1, arrays["interval"][slots])
    keep = 1 - pace.forget(LONG)

    held = np.where(same, s["held"] + 1, 1.0)
    longest = np.maximum(s["longest"] * keep, 1.0)
    exponent = (s["repeats"] + PRIOR_RUNS) / (s["logs"] + PRIOR_RUNS / PRIOR_EXPONENT)
    ratio = held / longest
    # Twice as long as when it was looked at last: the whole part of the binary logarithm grew.
    due = same & (np.floor(np.log2(ratio)) > np.floor(np.log2(np.maximum(held - 1, 1.0) / longest)))
    may_speak = (
        due
        & (held >= LEAST_ROWS)
        & (ratio >= LONGER)
        & (s["runs"] >= LEAST_RUNS)
        & (rows >= KNOWN * held)
        & (rows * pace.interval >= DAY)
        & (s["resting"] == 0)
    )
    beyond = np.log(np.maximum(ratio, 1.0))
    rare = -exponent * beyond - np.log(s["runs"] + 1)
    p_value = np.where(may_speak, np.exp(rare), 1.0)
    told = (held / 2 >= LEAST_ROWS) & (ratio / 2 >= LONGER)
    size = np.where(may_speak & ~told, PRIOR_SIZE * np.maximum(np.log(RECORDS) - rare, 0.0), 0.0)

    arrays["held"][slots] = held
    arrays["resting"][slots] = np.where(held == 2, _rests(arrays, slots, value), (s["resting"] > 0) & same)
    arrays["longest"][slots] = np.where(over, np.maximum(longest, s["held"]), longest)
    arrays["runs"][slots] = s["runs"] * keep + over
    arrays["repeats"][slots] = s["repeats"] * keep + long_run
    arrays["logs"][slots] = s["logs"] * keep + np.where(
        long_run, np.log(np.maximum(s["held"], SHORTEST) / SHORTEST), 0.0
    )
    return Holds(size, p_value)


def _rests(arrays: dict[str, Array], slots: Slots, value: Array) -> Array:
    """Whether the value is zero or near an edge of where the series was in the last month, or the last days."""
    near = EDGE * arrays["scale"][slots].astype(np.float64)
    low, high = (arrays[name][slots, 0] for name in ("low", "high"))
    near_low, near_high = (arrays[name][slots, 0] for name in ("near_low", "near_high"))
    rests: Array = (
        (value == 0) | (value <= np.maximum(low, near_low) + near) | (value >= np.minimum(high, near_high) - near)
    )
    return rests
