"""What is asked of a forecaster, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.metrics.model import SeriesKey


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
class Estimate:
    """One number with its intervals at 80 and 95 %."""

    middle: float
    low80: float
    high80: float
    low95: float
    high95: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rows of a forecast: Unix seconds, the middle, and the intervals at 80 and 95 %.

    model: what was chosen, and `error`: its scaled error in the backtest (MASE; below 1 is better than the naive one).
    reach: when `limit` is reached as (likely, earliest of 95 %, latest of 95 %) in Unix seconds; None where it is not.
    peak: the highest value within the horizon. trend: how much it grows, per second, seasons aside; trend_problem: why
    there is none, in a few words, where a forecaster knows.
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
    peak: Estimate | None = None
    trend: Estimate | None = None
    problem: str = ""
    trend_problem: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody wants to know where all series of a metric go, so many seconds ahead, made anew every `refresh` seconds.

    limit: a level, or the metric whose series with the same labels has it.
    """

    metric: str
    horizon: float
    refresh: float = 900.0
    limit: float | str | None = None


class Forecasts(Protocol):
    """Forecasts that the agent keeps. From any thread; nothing here waits for a forecast."""

    def want(self, who: str, wanted: Sequence[Wanted]) -> None:
        """Have these made from now on; what `who` wanted before counts no more."""

    def newest(self) -> Mapping[SeriesKey, Forecast]:
        """The newest of each series."""


class NoForecasts:
    """Where no agent keeps any, such as in a plugin's own process."""

    def want(self, who: str, wanted: Sequence[Wanted]) -> None:
        """Nobody makes them."""

    def newest(self) -> Mapping[SeriesKey, Forecast]:
        """None."""
        return {}
