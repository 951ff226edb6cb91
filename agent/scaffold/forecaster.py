"""The files of a new forecaster: the drift method, to be replaced by a better one."""

from __future__ import annotations

from agent.scaffold.heads import SAMPLE_HEAD

SUMMARY = "A forecaster for Predis Agent: straight on, by the drift method."

PLUGIN = '''\
"""Forecasts by the drift method: straight on, as from the first row to the last. Replace `_drift`; keep the shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from agent.api import Estimate, Forecast, ForecastRequest, PluginConfig, hookimpl
from pydantic import Field

Z80, Z95 = 1.2816, 1.96  # standard deviations to each side that hold 80 and 95 % of a normal distribution
MOST_ROWS = 200


class @cls@Config(PluginConfig):
    """`[plugins.@plugin@]`"""

    rows: int = Field(default=10, ge=3, description="fewest rows of history from which anything is forecast")


class @cls@:
    """The host makes one from the table, and a new one whenever that changes."""

    api_version = 1
    Config = @cls@Config

    def __init__(self, config: @cls@Config) -> None:
        # Cheap, and without I/O: `predis-agent plugins list` constructs it, too.
        self._config = config

    @hookimpl
    def predis_forecast(self, request: ForecastRequest) -> Forecast:
        # In an analysis worker, a process of its own: import large libraries here, and not at the top of the file.
        known = [(at, value) for at, value in zip(request.times, request.values, strict=True) if math.isfinite(value)]
        if len(known) < self._config.rows or known[0][0] >= known[-1][0]:
            return Forecast(problem=f"{len(known)} rows are known, and {self._config.rows} are needed")
        return _drift(request, known)


def _drift(request: ForecastRequest, known: Sequence[tuple[float, float]]) -> Forecast:
    """A random walk with drift, for rows at any times (Hyndman and Athanasopoulos, Forecasting: Principles and
    Practice, 3rd ed., 5.2 and 5.5). `known` is (Unix seconds, value), oldest first."""
    (begin, first), (end, last) = known[0], known[-1]
    span = end - begin
    slope = (last - first) / span  # per second
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(known) if b[0] > a[0]]
    variance = sum((rise - slope * gap) ** 2 / gap for gap, rise in steps) / max(1, len(steps) - 1)  # per second
    step = max(request.step or span / len(steps), request.horizon / MOST_ROWS)
    ahead = [step * (row + 1) for row in range(max(1, int(request.horizon / step)))]

    def around(widths: float) -> tuple[float, ...]:
        rows = (last + slope * h + widths * math.sqrt(variance * h * (1 + h / span)) for h in ahead)
        return tuple(_possible(request, value) for value in rows)

    times = tuple(end + h for h in ahead)
    middle, low80, high80, low95, high95 = map(around, (0.0, -Z80, Z80, -Z95, Z95))
    top = max(range(len(times)), key=middle.__getitem__)
    off = math.sqrt(variance / span)
    return Forecast(
        times,
        middle,
        low80,
        high80,
        low95,
        high95,
        model="drift",
        reach=(_reached(request, times, middle), _reached(request, times, high95), _reached(request, times, low95)),
        peak=Estimate(middle[top], low80[top], high80[top], low95[top], high95[top]),
        trend=Estimate(slope, slope - Z80 * off, slope + Z80 * off, slope - Z95 * off, slope + Z95 * off),
    )


def _possible(request: ForecastRequest, value: float) -> float:
    if request.low is not None:
        value = max(value, request.low)
    return value if request.high is None else min(value, request.high)


def _reached(request: ForecastRequest, times: Sequence[float], values: Sequence[float]) -> float | None:
    """When values are at the limit, or over it; None where they are not within the horizon."""
    if request.limit is None:
        return None
    return next((at for at, value in zip(times, values, strict=True) if value >= request.limit), None)
'''

SAMPLE = (
    SAMPLE_HEAD
    + """\
# The fewest rows of history from which anything is forecast.
rows = 10
"""
)

README = """\
# @package@

@summary@

```sh
pip install @package@     # where predis-agent is installed
predis-agent plugins disable forecasting    # one plugin forecasts: the first by name of those that can
predis-agent plugins list
```

```toml
@sample@```

The middle goes straight on, as from the first row of the history to the last; the intervals grow with the distance.

## Troubleshooting

- `predis-agent forecast METRIC` says why there is no forecast, such as too few `rows`.
- Forecasts are not this plugin's: another one that forecasts comes before it by name. Disable that.
"""

TESTS = '''\
"""@cls@ goes straight on, and its intervals hold what they say."""

from __future__ import annotations

import random

import pytest
from agent.api import Forecast, ForecastRequest

from @module@.plugin import @cls@, @cls@Config

START, STEP = 1_700_000_000.0, 60.0


def forecast(values: list[float], rows: int = 5, **more: float) -> Forecast:
    times = tuple(START + STEP * row for row in range(len(values)))
    request = ForecastRequest("predis_level", times, tuple(values), horizon=rows * STEP, step=STEP, **more)
    return @cls@(@cls@Config()).predis_forecast(request)


def test_a_straight_line_goes_on() -> None:
    made = forecast([2.0 * row for row in range(11)], limit=25.0)
    assert made.times == tuple(START + STEP * row for row in range(11, 16))
    assert made.middle == pytest.approx([22, 24, 26, 28, 30])
    assert made.high95 == pytest.approx(made.middle)
    assert made.reach == (made.times[2], made.times[2], made.times[2])
    assert made.trend is not None and made.trend.middle == pytest.approx(2 / STEP)
    assert made.peak is not None and made.peak.middle == pytest.approx(30)


def test_values_stay_within_what_is_possible() -> None:
    assert max(forecast([2.0 * row for row in range(11)], high=25.0).high95) == 25.0


def test_too_little_history_is_told() -> None:
    assert forecast([1.0, 2.0]).problem == "2 rows are known, and 10 are needed"
    assert forecast([]).times == ()


def test_the_intervals_hold_what_they_say() -> None:
    noise = random.Random(5)
    inside80 = inside95 = 0
    for _ in range(400):
        walk = [0.0]
        for _ in range(105):
            walk.append(walk[-1] + noise.gauss(0.3, 1.0))
        made = forecast(walk[:101])
        inside80 += made.low80[-1] <= walk[105] <= made.high80[-1]
        inside95 += made.low95[-1] <= walk[105] <= made.high95[-1]
    assert 0.74 < inside80 / 400 < 0.86
    assert 0.91 < inside95 / 400 < 0.99
'''
