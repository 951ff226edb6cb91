"""What a forecaster is asked, and what its answers must be."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from functools import partial
from itertools import pairwise

from agent.certify.rig import Rig, fail
from agent.forecast.model import Forecast, ForecastRequest
from agent.forecast.worker import DEADLINE
from agent.plugin.loaded import LoadedPlugin

_BEGIN = 1_700_000_000.0
_STEP = 60.0  # seconds between rows
_HORIZON = 3600.0
_ROWS = ("low95", "low80", "middle", "high80", "high95")  # each at most the next
_ROUNDING = 1e-9  # of the values


def ask(rig: Rig, plugin: LoadedPlugin) -> list[Forecast]:
    """Have it forecast everything; the check fails when an answer is unsound. Gives the forecasts that have rows."""
    rig.timed(plugin, "predis_start", lambda: plugin.start(rig.host()))
    made: list[Forecast] = []
    for what, request in requests():
        forecast = rig.timed(plugin, f"predis_forecast, {what},", partial(plugin.forecast, request), DEADLINE)
        if problem := problem_of(forecast, request):
            fail(f"predis_forecast, {what}, gives a forecast {problem}")
        made += [forecast] if forecast.times else []
    rig.timed(plugin, "predis_stop", plugin.stop)
    return made


def requests() -> Iterator[tuple[str, ForecastRequest]]:
    """What is asked, each with what is special, as the end of a sentence."""
    noise = random.Random(12)

    def request(values: list[float], **more: float) -> ForecastRequest:
        times = tuple(_BEGIN + _STEP * row for row in range(len(values)))
        return ForecastRequest("predis_certify_level", times, tuple(values), horizon=_HORIZON, **more)

    rising = [row / 10 + noise.gauss(0.0, 1.0) for row in range(240)]
    yield "without history", request([])
    yield "of one row", request([1.0])
    yield "of two rows", request([1.0, 2.0])
    yield "of a level that never moved", request([4.0] * 240)
    yield "of a level that rises", request(rising, step=_STEP)
    yield "up to a limit", request(rising, limit=26.0, low=0.0, high=27.0)
    yield "over the limit already", request(rising, limit=1.0)
    yield "with NaN among the values", request([*rising[:120], math.nan, *rising[120:]])
    full = request(rising)
    kept = [row for row in range(240) if not 90 <= row < 150 and row % 7]
    yield (
        "with rows missing",
        ForecastRequest(full.name, tuple(full.times[i] for i in kept), tuple(full.values[i] for i in kept), _HORIZON),
    )


def problem_of(forecast: Forecast, request: ForecastRequest) -> str:
    """What is wrong with a forecast, as the end of a sentence; empty if nothing is."""
    rows = [tuple(getattr(forecast, name)) for name in _ROWS]
    if forecast.problem:
        return f"with rows and a problem: {forecast.problem}" if forecast.times else ""
    if not forecast.times:
        return "without rows that does not say why: set problem"
    if not request.times:
        return "of nothing: without history there is none, for which problem gives the reason"
    if any(len(row) != len(forecast.times) for row in rows):
        return f"whose rows are not of one length: {len(forecast.times)} times, {', '.join(str(len(r)) for r in rows)}"
    if not all(map(math.isfinite, (*forecast.times, *(value for row in rows for value in row)))):
        return "with values that are not finite"
    if any(later <= earlier for earlier, later in pairwise((request.times[-1], *forecast.times))):
        return "whose times do not ascend from the last one that is known"
    if forecast.times[-1] > request.times[-1] + request.horizon * 1.01 + (request.step or _STEP):
        return f"that goes beyond the horizon of {request.horizon:g} s"
    for (low_name, lows), (high_name, highs) in pairwise(zip(_ROWS, rows, strict=True)):
        slack = _ROUNDING * max(1.0, *map(abs, lows))
        if any(low > high + slack for low, high in zip(lows, highs, strict=True)):
            return f"whose {low_name} is above its {high_name}"
    possible = (-math.inf if request.low is None else request.low, math.inf if request.high is None else request.high)
    if not all(possible[0] - _ROUNDING <= value <= possible[1] + _ROUNDING for value in forecast.middle):
        return f"outside of what is possible, {possible[0]:g} to {possible[1]:g}"
    likely, earliest, latest = forecast.reach
    if any(a is not None and b is not None and a > b for a, b in pairwise((earliest, likely, latest))):
        return f"whose reach {forecast.reach!r} is not (likely, earliest, latest)"
    return ""
