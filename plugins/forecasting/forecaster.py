"""Rows into a forecast: the series is mended, its seasons are chosen, the members combined, the bounds kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plugins.forecasting import seasons
from plugins.forecasting.arrays import Floats
from plugins.forecasting.combination import Combined, combine
from plugins.forecasting.mend import level_shifts_moved

LEAST_ROWS = 12


@dataclass(frozen=True)
class Rows:
    """A regular series. values: (n,), finite. periods: seasons that it may have, in rows, shortest first."""

    values: Floats
    periods: Sequence[int] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Bands:
    """Each (horizon,). `combined` is None for a series that never changed."""

    middle: Floats
    low80: Floats
    high80: Floats
    low95: Floats
    high95: Floats
    combined: Combined | None


def forecast_rows(rows: Rows, horizon: int) -> Bands:
    """Forecast `horizon` rows after at least LEAST_ROWS."""
    values = rows.values
    if np.all(values == values[0]):
        same = np.full(horizon, values[0])
        return Bands(same, same, same, same, same, None)
    mended = level_shifts_moved(values)
    # Never beyond what is possible: the bounds, and 0 where nothing was negative.
    low = rows.low if rows.low is not None else (0.0 if values.min() >= 0 else -np.inf)
    high = rows.high if rows.high is not None else np.inf
    tested = max(1, min(horizon, len(values) // 4))
    combined = combine(mended, horizon, seasons.usable(rows.periods, len(values), tested))
    ends = (*combined.interval(combined.quantile80), *combined.interval(combined.quantile95))
    middle, low80, high80, low95, high95 = (np.clip(line, low, high) for line in (combined.mean, *ends))
    return Bands(middle, low80, high80, low95, high95, combined)
