"""Which seasons a series may have, in rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plugins.forecasting.arrays import Floats

HOUR, DAY, WEEK, YEAR = 3600.0, 86_400.0, 604_800.0, 365.2425 * 86_400.0
USUAL = (7, 12, 24, 52, 168, 365)  # days of a week, months, hours of a day, weeks, hours of a week, days of a year
_SHORTEST, _LONGEST = 6, 1100
_SIGNIFICANT = 1.645  # one-sided 95 %, for the autocorrelation
_OFF = 0.01  # of a season that its rows may be wrong by


def calendar(step: float) -> tuple[int, ...]:
    """Hour, day, week and year in rows of `step` seconds, where these are many enough and fit; shortest first."""
    found = []
    for season in (HOUR, DAY, WEEK, YEAR):
        rows = round(season / step)
        if _SHORTEST <= rows <= _LONGEST and abs(rows * step / season - 1) < _OFF:
            found.append(rows)
    return tuple(found)


def declared(period: int) -> tuple[int, ...]:
    """A season that somebody knows of, and seven of it, as the hours of the day have a week above them."""
    return (period, 7 * period)


def detected(values: Floats) -> tuple[int, ...]:
    """The usual season with the largest significant autocorrelation of differences (clipped: a spike is no season)."""
    candidates = [period for period in USUAL if len(values) >= 2.5 * period]
    changes = np.diff(values)
    if not candidates or not np.any(changes != changes[0]):
        return ()
    changes = np.clip(changes, *np.quantile(changes, [0.02, 0.98]))
    changes -= changes.mean()
    power = np.abs(np.fft.rfft(changes, 2 * len(changes))) ** 2
    correlation = np.fft.irfft(power)[: len(changes)]
    if correlation[0] <= 0:
        return ()
    correlation /= correlation[0]
    best = max(candidates, key=lambda period: correlation[period])
    # Bartlett's formula
    bound = _SIGNIFICANT * np.sqrt((1 + 2 * (correlation[1:best] ** 2).sum()) / len(values))
    return (best,) if correlation[best] > bound else ()


def usable(periods: Sequence[int], rows: int, horizon: int) -> tuple[int, ...]:
    """Those of which there are enough before the first origin of a backtest: the two longest."""
    return tuple(period for period in periods if rows >= 2 * period + 3 * horizon)[-2:]
