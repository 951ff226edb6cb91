"""The simple choice: how many standard deviations a value is from the mean of about a day."""

from __future__ import annotations

from typing import Final

import numpy as np

from plugins.anomaly.engine.channels import LEVEL_HORIZON, VALUE, Pace, interval_of
from plugins.anomaly.engine.engine import LARGEST, Judgement
from plugins.anomaly.engine.table import Array, Field, Slots, Table

WARM_UP: Final = 30  # rows
SHOWN: Final = 4.0  # standard deviations to each side that the expected band has

FIELDS: Final = {
    "rows": Field(np.float64),
    "interval": Field(np.float64, fill=np.nan),
    "time": Field(np.float64, fill=np.nan),
    "mean": Field(np.float64),
    "square": Field(np.float64),  # the mean square of deviations from the mean
}


class ZScore:
    """Exponentially weighted mean and variance (West, "Updating mean and variance estimates", 1979)."""

    def __init__(self) -> None:
        self.table = Table(FIELDS)

    def step(self, slots: Slots, time: Array, value: Array) -> Judgement:
        """One row of each of these series; see engine.Engine."""
        count = len(slots)
        usable = np.isfinite(value) & np.isfinite(time) & (np.abs(value) < LARGEST)
        z = np.zeros(count)
        low, high = np.full(count, np.nan), np.full(count, np.nan)
        used = slots[usable]
        s = {name: array[used] for name, array in self.table.arrays.items()}
        x = value[usable]
        mean = np.where(s["rows"] == 0, x, s["mean"])
        deviation = np.sqrt(s["square"])
        apart = x - mean
        known = (s["rows"] >= WARM_UP) & (deviation > 0)
        z[usable] = np.where(known, np.abs(apart) / np.where(deviation > 0, deviation, 1.0), 0.0)
        low[usable], high[usable] = mean - SHOWN * deviation, mean + SHOWN * deviation
        interval = interval_of(s["interval"], time[usable] - s["time"])
        weight = Pace(s["rows"] + 1, interval)(LEVEL_HORIZON)
        for name, now in (
            ("rows", s["rows"] + 1),
            ("interval", interval),
            ("time", time[usable]),
            ("mean", mean + weight * apart),
            ("square", (1 - weight) * (s["square"] + weight * apart**2)),
        ):
            self.table.arrays[name][used] = now
        return Judgement(z / (1 + z), two_sided(z), np.full(count, VALUE, np.intp), low, high, usable)


def two_sided(z: Array) -> Array:
    """P(|Z| ≥ z) of a standard normal Z, for z ≥ 0, within 2 · 10⁻⁷ relative (Abramowitz & Stegun 26.2.17's scheme in
    the form of Numerical Recipes' erfcc), also far out where it is tiny."""
    x = z / np.sqrt(2)
    t = 1 / (1 + 0.5 * x)
    terms = (-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587)
    power = np.zeros_like(t)
    for term in (0.17087277, -0.82215223, *terms[::-1]):
        power = power * t + term
    probability: Array = np.minimum(t * np.exp(-x * x + power), 1.0)
    return probability
