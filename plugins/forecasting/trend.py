"""Growth, seasons aside."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from agent.api import Estimate
from plugins.forecasting import seasons
from plugins.forecasting.arrays import Floats
from plugins.forecasting.forecaster import Bands
from plugins.forecasting.mend import level_shifts_moved
from plugins.forecasting.regular import Regular

NO_DAY = "the rows cover less than a day, and growth cannot be told from what a day goes through"


def trend(rows: Regular, bands: Bands) -> tuple[Estimate | None, str]:
    """Growth per second of the mean over a season, from now to the horizon's end; or why that is not known.

    Where the horizon is shorter than the season, the mean at its end takes in rows that were: what is left is the mean
    difference of the forecast rows and those one season before them, so that a wave which only goes on has no trend.
    """
    if bands.combined is None:
        return Estimate(0.0, 0.0, 0.0, 0.0, 0.0), ""
    season = _season(len(rows.values), rows.step, bands.combined.periods)
    if season is None:
        return None, NO_DAY
    past = level_shifts_moved(rows.values)  # a step of the level is no growth
    horizon = len(bands.middle)
    joined: Floats = np.concatenate([past, bands.middle])
    growth = float(joined[-season:].mean() - past[-season:].mean()) / (horizon * rows.step)
    # The mean errs less than one row does, and by how much is not known from so few: as much, to be safe. So it does
    # before the horizon, too, where few rows are compared.
    compared = min(season, horizon)
    error = float(bands.combined.scale[-1]) * math.sqrt(1 + 1 / compared) / (max(season, horizon) * rows.step)
    wide80, wide95 = error * bands.combined.quantile80, error * bands.combined.quantile95
    return Estimate(growth, growth - wide80, growth + wide80, growth - wide95, growth + wide95), ""


def _season(rows: int, step: float, known: Sequence[int]) -> int | None:
    """Rows of the longest season that the members know of, a day at least; None where there is not even a day of rows.

    A day that the members do not know of makes the trend unsure, and so are they, as their intervals tell.
    """
    day = max(1, round(seasons.DAY / step))
    season = max((day, *known))
    return season if rows >= season else None
