"""What is asked of a forecaster, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ForecastRequest:
    """One series to forecast.

    times, values: Unix seconds and values, oldest first; gaps are missing rows, a counter comes as its rate.
    horizon: how far, in seconds. step: seconds between the rows of the forecast; None: the forecaster's choice.
    limit: a level of which the time of reaching is wanted (time to full). bounds: what values are possible.
    """

    name: str
    times: tuple[float, ...]
    values: tuple[float, ...]
    horizon: float
    step: float | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rows of a forecast: Unix seconds, the middle, and the intervals at 80 and 95 %.

    model: what was chosen, and `error`: its scaled error in the backtest (MASE; below 1 is better than the naive one).
    reach: when `limit` is reached as (likely, earliest of 95 %, latest of 95 %) in Unix seconds; None where it is not.
    problem: why there is no forecast, in a sentence, such as too little history; then there are no rows.
    """

    times: tuple[float, ...] = ()
    middle: tuple[float, ...] = ()
    low80: tuple[float, ...] = ()
    high80: tuple[float, ...] = ()
    low95: tuple[float, ...] = ()
    high95: tuple[float, ...] = ()
    model: str = ""
    error: float | None = None
    reach: tuple[float | None, float | None, float | None] = (None, None, None)
    problem: str = ""
