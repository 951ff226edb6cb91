"""Bands: where a channel was before, slowly forgotten, and how rare it is to be outside.

Each channel of each series has a band from the lowest to the highest number seen, whose edges shrink towards the mean
with time. The evidence of a row is how far it lies outside, as a share of the band's width: a record. Records need no
assumption about a distribution: of exchangeable rows the n-th is a record with probability 2/n, whatever they are
(Foster & Stuart, "Distribution-free tests in time-series based on the breaking of records", 1954), so noise of every
kind gives few, and they compare between series. After a record the band has it, which is the refractory time: the same
again is none until it is forgotten.

A record's size is turned into a tail probability as in peaks over threshold (Davison & Smith, "Models for exceedances
over high thresholds", 1990): the share of rows that were records, times a Pareto tail whose exponent is estimated from
the sizes of the series' own records.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from plugins.anomaly.engine.channels import CHANNELS, DAY, Pace
from plugins.anomaly.engine.table import Array, Field, Slots

MEMORY: Final = (30 * DAY, 1000)  # seconds, and rows at least, in which a band shrinks to 1/e
WARM_UP: Final = 30  # rows in which nothing is a record
SHARPNESS: Final = 10.0  # an excess of a tenth of the band counts as one unit of the Pareto tail
PRIOR_RECORDS, PRIOR_SIZE = 16.0, 0.5  # what is taken for granted of record sizes before there are any
MIN_WIDTH: Final = 1e-3  # a band is at least so wide, as a share of the value

FIELDS: Final = {
    "low": Field(np.float64, len(CHANNELS)),
    "high": Field(np.float64, len(CHANNELS)),
    "middle": Field(np.float64, len(CHANNELS)),
    "tests": Field(np.float64),  # rows, forgotten as the band is
    "records": Field(np.float64),
    "sizes": Field(np.float64),
}


def judge(arrays: dict[str, Array], slots: Slots, channels: Array, proven: Array) -> tuple[Array, Array, Array, Array]:
    """Compares the channels' numbers with their bands, then takes them in. `rows` already counts the new row.

    Gives (size, channel, p_value, before): the size of each series' largest record, log(1 + SHARPNESS × excess), 0
    where there is none; in which channel; its tail probability, 1 where there is none; and the bands, (series, channel,
    2), as they were before.
    """
    rows = arrays["rows"][slots]
    low, high, middle = arrays["low"][slots], arrays["high"][slots], arrays["middle"][slots]
    first = (rows <= 1)[:, None]
    low, high, middle = (np.where(first, channels, edge) for edge in (low, high, middle))
    before = np.stack([low, high], axis=2)

    width = np.maximum(high - low, MIN_WIDTH * np.abs(channels[:, :1]) + 1e-12)
    excess = np.maximum(channels - high, low - channels) / width
    excess = np.where(proven & (rows > WARM_UP)[:, None], np.maximum(excess, 0.0), 0.0)
    channel = np.argmax(excess, axis=1)
    size = np.log1p(SHARPNESS * excess[np.arange(len(slots)), channel])

    tests, records, sizes = arrays["tests"][slots], arrays["records"][slots], arrays["sizes"][slots]
    mean = (sizes + PRIOR_RECORDS * PRIOR_SIZE) / (records + PRIOR_RECORDS)
    p_value = np.where(size > 0, np.minimum((records + 1) / (tests + 1), 1.0) * np.exp(-size / mean), 1.0)

    pace = Pace(rows, arrays["interval"][slots])
    forget = -np.expm1(-pace.interval / np.maximum(MEMORY[0], MEMORY[1] * pace.interval))
    keep = 1 - forget
    arrays["tests"][slots] = tests * keep + 1
    arrays["records"][slots] = records * keep + (size > 0)
    arrays["sizes"][slots] = sizes * keep + size
    middle = middle + pace(MEMORY)[:, None] * (channels - middle)
    arrays["middle"][slots] = middle
    arrays["high"][slots] = np.maximum(channels, high - forget[:, None] * (high - middle))
    arrays["low"][slots] = np.minimum(channels, low + forget[:, None] * (middle - low))
    return size, channel, p_value, before
