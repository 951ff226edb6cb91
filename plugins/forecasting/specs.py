"""The metrics of forecasts. `bound`: the middle, or an end of the interval of 80 or 95 %."""

from __future__ import annotations

from agent.api import Kind, MetricSpec

_G = Kind.gauge
_SERIES = ("metric", "series")

VALUE = MetricSpec(
    "predis_forecast_value",
    _G,
    "What a series will be at the end of the horizon, in its own unit (a counter: its rate).",
    "",
    (*_SERIES, "bound"),
)
PEAK = MetricSpec(
    "predis_forecast_peak",
    _G,
    "The highest value of a series within the horizon, in its own unit.",
    "",
    (*_SERIES, "bound"),
)
TREND = MetricSpec(
    "predis_forecast_trend",
    _G,
    "How much a series grows per second, seasons aside, in its own unit.",
    "",
    (*_SERIES, "bound"),
)
TIME_TO_FULL = MetricSpec(
    "predis_forecast_time_to_full_seconds",
    _G,
    "From now until a series is at its limit; missing where that is not within the horizon.",
    "seconds",
    (*_SERIES, "bound"),
)
HORIZON = MetricSpec("predis_forecast_horizon_seconds", _G, "How far ahead a series is forecast.", "seconds", _SERIES)
ERROR = MetricSpec(
    "predis_forecast_error_ratio",
    _G,
    "Error in the backtest against that of repeating the last value or season; below 1 is better.",
    "ratio",
    _SERIES,
)
AVAILABLE = MetricSpec("predis_forecast_available", _G, "1 while a series can be forecast, else 0.", "", _SERIES)

SPECS = (VALUE, PEAK, TREND, TIME_TO_FULL, HORIZON, ERROR, AVAILABLE)
