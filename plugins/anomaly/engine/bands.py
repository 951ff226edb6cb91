"""Bands: where a channel was before, slowly forgotten, and how rare it is to be outside.

Each channel of each series has a band from the lowest to the highest number seen, whose edges shrink towards the mean
with time. The evidence of a row is how far it lies outside, as a share of the band's width: a record. Records need no
assumption about a distribution: of exchangeable rows the n-th is a record with probability 2/n, whatever they are
(Foster & Stuart, "Distribution-free tests in time-series based on the breaking of records", 1954), so noise of every
kind gives few, and they compare between series. There are two bands, one that remembers for a month and one for days;
to be outside of the latter alone is weak evidence. How much wider the one is than the other tells how heavy the tails
are (the range of n Pareto-tailed rows grows as a power of n, that of normal ones hardly), and so how large records are
by nature; they count for less by that.

After a record the band has it, and so the same again is none until it is forgotten; for some hours a record must be
larger than the last one to count; and in a series that was restless for weeks records count for less than in a calm
one.

A record's size is turned into a tail probability as in peaks over threshold (Davison & Smith, "Models for exceedances
over high thresholds", 1990): the share of rows that were records, times a Pareto tail whose exponent is estimated from
the sizes of the series' own records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from plugins.anomaly.engine.channels import CHANNELS, DAY, DIFFERENCE, LEVEL, VARIANCE, Pace
from plugins.anomaly.engine.table import Array, Field, Slots

LONG: Final = (30 * DAY, 1000)  # seconds, and rows at least, in which a band shrinks to 1/e
SHORT: Final = (2 * DAY, 48)
SHORT_WEIGHT: Final = 0.2  # of a record within the last days alone
REFRACTORY: Final = (DAY / 4, 8)  # in which the size of the last record is forgotten to 1/e
REPEAT: Final = 0.7  # of that size is taken off a larger record; what is smaller is none
WARM_UP: Final = 30  # rows in which nothing is a record
SHARPNESS: Final = 10.0  # an excess of a tenth of the band counts as one unit of the Pareto tail
PRIOR_RECORDS, PRIOR_SIZE = 16.0, 0.5  # what is taken for granted of record sizes before there are any
UNREST: Final = (15 * DAY, 500)  # in which the sum of the sizes of records is forgotten to 1/e
RESTLESS: Final = 10.0  # of which sum on the series counts as restless, half and half
DISCOUNT: Final = 4.0  # in a series without any rest records count for 1 / (1 + DISCOUNT)
MIN_WIDTH: Final = 1e-3  # a band is at least so wide, as a share of the value

# A step from row to row, or a restless hour, says less than a value that never was.
WEIGHTS: Final = np.array([{DIFFERENCE: 0.7, VARIANCE: 0.7, LEVEL: 0.85}.get(n, 1.0) for n in range(len(CHANNELS))])

FIELDS: Final = {
    "low": Field(np.float64, len(CHANNELS)),
    "high": Field(np.float64, len(CHANNELS)),
    "middle": Field(np.float64, len(CHANNELS)),
    "near_low": Field(np.float64, len(CHANNELS)),
    "near_high": Field(np.float64, len(CHANNELS)),
    "recent": Field(np.float64),  # the size of the last large record, as far as it is not forgotten
    "unrest": Field(np.float64),  # the sum of the sizes of records, as far as they are not forgotten
    "tests": Field(np.float64),  # rows, forgotten as the long band is
    "records": Field(np.float64),
    "sizes": Field(np.float64),
    "squares": Field(np.float64),
}


@dataclass(frozen=True, slots=True)
class Records:
    """What came of one row of each series.

    size: how much of a record, all counted, 0 for none. channel: in which channel.
    p_value: of a record of the long band, 1 where there is none. low, high: that channel's band as it was before.
    """

    size: Array
    channel: Array
    p_value: Array
    low: Array
    high: Array


class _Band:
    """One of the two, for the given series, before the new row."""

    def __init__(self, arrays: dict[str, Array], slots: Slots, names: tuple[str, str], numbers: Array) -> None:
        self._arrays, self._slots, self._names = arrays, slots, names
        first = (arrays["rows"][slots] <= 1)[:, None]
        self.low, self.high = (np.where(first, numbers, arrays[name][slots]) for name in names)
        self.width = np.maximum(self.high - self.low, MIN_WIDTH * np.abs(numbers[:, :1]) + 1e-12)

    def record(self, numbers: Array, may_speak: Array) -> Array:
        """How far the numbers lie outside, as log(1 + SHARPNESS × widths of the band)."""
        outside = np.maximum(numbers - self.high, self.low - numbers) / self.width
        return np.log1p(SHARPNESS * np.where(may_speak, np.maximum(outside, 0.0), 0.0))

    def learn(self, numbers: Array, middle: Array, forget: Array) -> None:
        """Shrinks it and takes the numbers in."""
        low, high = self._names
        self._arrays[high][self._slots] = np.maximum(numbers, self.high - forget[:, None] * (self.high - middle))
        self._arrays[low][self._slots] = np.minimum(numbers, self.low + forget[:, None] * (middle - self.low))


def judge(arrays: dict[str, Array], slots: Slots, numbers: Array, proven: Array) -> Records:
    """Compares the channels' numbers, (series, channel), with their bands, then takes them in.

    proven: which channels may speak. `rows` already counts the new row.
    """
    rows = arrays["rows"][slots]
    each = np.arange(len(slots))
    may_speak = proven & (rows > WARM_UP)[:, None]
    long = _Band(arrays, slots, ("low", "high"), numbers)
    short = _Band(arrays, slots, ("near_low", "near_high"), numbers)
    tails = 1 + np.log(np.maximum(long.width / short.width, 1.0))
    far, near = WEIGHTS * long.record(numbers, may_speak) / tails, short.record(numbers, may_speak)
    far_channel, near_channel = np.argmax(far, axis=1), np.argmax(near, axis=1)
    record = far[each, far_channel]
    total = record + SHORT_WEIGHT * near[each, near_channel]

    recent, unrest = arrays["recent"][slots], arrays["unrest"][slots]
    fresh = np.where(total > recent, total - REPEAT * recent, 0.0)
    size = fresh / (1 + DISCOUNT * unrest / (unrest + RESTLESS))

    tests, records = arrays["tests"][slots], arrays["records"][slots]
    sizes, squares = arrays["sizes"][slots], arrays["squares"][slots]
    # Half the mean square over the mean: an exponential's mean, too, but hardly moved by the many tiny records that a
    # value gives that comes again and again while the band shrinks.
    prior = PRIOR_RECORDS * PRIOR_SIZE
    mean = (squares + 2 * prior * PRIOR_SIZE) / (2 * (sizes + prior))
    rare = np.minimum((records + 1) / (tests + 1), 1.0) * np.exp(-record / mean)
    p_value = np.where((record > 0) & (size > 0), rare, 1.0)

    pace = Pace(rows, arrays["interval"][slots])
    forget = pace.forget(LONG)
    middle = np.where((rows <= 1)[:, None], numbers, arrays["middle"][slots])
    middle = middle + pace(LONG)[:, None] * (numbers - middle)
    arrays["middle"][slots] = middle
    long.learn(numbers, middle, forget)
    short.learn(numbers, middle, pace.forget(SHORT))
    arrays["recent"][slots] = np.maximum(recent * (1 - pace.forget(REFRACTORY)), total)
    arrays["unrest"][slots] = unrest * (1 - pace.forget(UNREST)) + fresh
    arrays["tests"][slots] = tests * (1 - forget) + 1
    arrays["records"][slots] = records * (1 - forget) + (record > 0)
    arrays["sizes"][slots] = sizes * (1 - forget) + record
    arrays["squares"][slots] = squares * (1 - forget) + record**2

    is_far = record > 0
    channel = np.where(is_far, far_channel, near_channel)
    low = np.where(is_far[:, None], long.low, short.low)
    high = np.where(is_far[:, None], long.high, short.high)
    return Records(size, channel, p_value, low, high)
