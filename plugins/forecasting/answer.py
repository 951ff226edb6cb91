"""A request answered: rows, when the limit is reached, the peak, the trend."""

from __future__ import annotations

from dataclasses import astuple, replace

import numpy as np

from agent.api import Estimate, Forecast, ForecastRequest
from plugins.forecasting import seasons
from plugins.forecasting.arrays import Floats
from plugins.forecasting.forecaster import Bands, Rows, forecast_rows
from plugins.forecasting.magnitude import exponent_of, times_two_to
from plugins.forecasting.regular import Regular, TooLittle, regular
from plugins.forecasting.trend import trend

_NAMED = 3  # members whose names stand in the answer


def answer(request: ForecastRequest) -> Forecast:
    """Forecast a series, or say why that cannot be."""
    exponent = exponent_of(np.asarray(request.values, float))
    return _resized(_answer(_shrunk(request, -exponent)), exponent) if exponent else _answer(request)


def _shrunk(request: ForecastRequest, exponent: int) -> ForecastRequest:
    low, high, limit = (
        None if at is None else float(times_two_to(np.array(at), exponent))
        for at in (request.low, request.high, request.limit)
    )
    values = _tuple(times_two_to(np.asarray(request.values, float), exponent))
    return replace(request, values=values, low=low, high=high, limit=limit)


def _resized(found: Forecast, exponent: int) -> Forecast:
    def line(given: tuple[float, ...]) -> tuple[float, ...]:
        return _tuple(times_two_to(np.array(given), exponent))

    def estimate(given: Estimate | None) -> Estimate | None:
        return None if given is None else Estimate(*line(astuple(given)))

    return replace(
        found,
        middle=line(found.middle),
        low80=line(found.low80),
        high80=line(found.high80),
        low95=line(found.low95),
        high95=line(found.high95),
        peak=estimate(found.peak),
        trend=estimate(found.trend),
    )


def _answer(request: ForecastRequest) -> Forecast:
    try:
        rows = regular(request)
    except TooLittle as why:
        return Forecast(problem=str(why))
    horizon = max(1, round(request.horizon / rows.step))
    bands = forecast_rows(Rows(rows.values, seasons.calendar(rows.step), request.low, request.high), horizon)
    times: Floats = rows.end + rows.step * np.arange(1.0, horizon + 1)
    combined = bands.combined
    growth, unknown = trend(rows, bands)
    return Forecast(
        times=_tuple(times),
        middle=_tuple(bands.middle),
        low80=_tuple(bands.low80),
        high80=_tuple(bands.high80),
        low95=_tuple(bands.low95),
        high95=_tuple(bands.high95),
        model=_model(bands),
        error=combined.error / combined.naive if combined is not None and combined.naive > 0 else None,
        reach=_reach(request.limit, rows, times, bands),
        peak=_peak(bands, request),
        trend=growth,
        trend_problem=unknown,
    )


def _tuple(line: Floats) -> tuple[float, ...]:
    return tuple(line.tolist())


def _model(bands: Bands) -> str:
    if bands.combined is None:
        return "constant"
    weights = bands.combined.weights
    first = sorted(weights, key=lambda name: -weights[name])[:_NAMED]
    return f"{len(weights)} combined: " + ", ".join(f"{name} {weights[name]:.0%}" for name in first) + ", …"


def _reach(
    limit: float | None, rows: Regular, times: Floats, bands: Bands
) -> tuple[float | None, float | None, float | None]:
    """When the middle, the near and the far end of the 95 % interval come to the limit."""
    if limit is None:
        return (None, None, None)
    last = float(rows.values[-1])
    if last == limit:
        return (rows.end, rows.end, rows.end)
    near, far = (bands.high95, bands.low95) if last < limit else (bands.low95, bands.high95)
    likely, earliest, latest = (_crossing(line, limit, last, rows.end, times) for line in (bands.middle, near, far))
    return (likely, earliest, latest)


def _crossing(line: Floats, limit: float, last: float, end: float, times: Floats) -> float | None:
    beyond = np.flatnonzero(line >= limit if last < limit else line <= limit)
    if not len(beyond):
        return None
    row = int(beyond[0])
    before, at = (last, end) if row == 0 else (float(line[row - 1]), float(times[row - 1]))
    share = (limit - before) / (float(line[row]) - before)
    return at + share * (float(times[row]) - at)


def _peak(bands: Bands, request: ForecastRequest) -> Estimate:
    """The highest row of the middle, corrected by how much the peaks of the backtest were off: a path's peak is higher
    than the peak of its mean."""
    highest = float(bands.middle.max())
    combined = bands.combined
    if combined is None:
        return Estimate(highest, highest, highest, highest, highest)
    middle = highest + float(np.median(combined.peaks))
    spread = float(np.sqrt(((combined.peaks - np.median(combined.peaks)) ** 2).mean()))
    # A longer horizon than was tested is as uncertain as its rows are.
    spread = max(spread, float(combined.scale[int(bands.middle.argmax())]) / 2)
    ends = (-combined.quantile80, combined.quantile80, -combined.quantile95, combined.quantile95)
    low = -np.inf if request.low is None else request.low
    high = np.inf if request.high is None else request.high
    return Estimate(*(float(np.clip(middle + end * spread, low, high)) for end in (0.0, *ends)))
