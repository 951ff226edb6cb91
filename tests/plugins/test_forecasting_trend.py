"""The trend of a forecast is growth, not the phase of a season."""

import numpy as np
import pytest

from agent.api import Estimate, Forecast, ForecastRequest
from plugins.forecasting.answer import answer
from plugins.forecasting.arrays import Floats
from plugins.forecasting.plugin import samples

NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86_400.0
NOISE = 3.0


def daily(rows: int) -> Floats:
    return np.asarray(1000 + 100 * np.sin(np.arange(rows) * 2 * np.pi / 24))


def weekly(rows: int) -> Floats:
    hours = np.arange(rows)
    return daily(rows) + np.where(hours // 24 % 7 < 5, 80.0, 0.0)


def forecast(values: Floats, hours: float, noise: float = NOISE, step: float = HOUR) -> Forecast:
    noisy = values + np.random.default_rng(4).normal(0, noise, len(values))
    times = tuple(NOW - step * (len(values) - 1 - row) for row in range(len(values)))
    return answer(ForecastRequest("predis_test", times, tuple(noisy.tolist()), hours * HOUR))


def a_day(estimate: Estimate | None) -> tuple[float, float, float]:
    assert estimate is not None
    return estimate.middle * DAY, estimate.low95 * DAY, estimate.high95 * DAY


@pytest.mark.parametrize("slope", [0.0, 24.0, -12.0])
@pytest.mark.parametrize("hours", [1, 6, 12, 30])
@pytest.mark.parametrize("phase", [0, 5, 11, 19])
def test_a_daily_wave_has_the_trend_of_its_level(slope: float, hours: int, phase: int) -> None:
    """It climbs by up to 620 a day, at the steepest; within a day it comes back."""
    rows = 350 + phase
    trend, low, high = a_day(forecast(daily(rows) + slope / 24 * np.arange(rows), hours).trend)
    assert abs(trend - slope) < 4
    assert low - 1 <= slope <= high + 1
    assert high - low < 60


@pytest.mark.parametrize("hours", [6, 24])
def test_weekends_are_no_trend(hours: int) -> None:
    """The forecast goes from a Friday into a Saturday."""
    trend, *_ = a_day(forecast(weekly(24 * 33), hours).trend)
    assert abs(trend) < 4


@pytest.mark.parametrize("hours", [1, 6, 48])
@pytest.mark.parametrize("rows", [60, 350])
def test_growth_alone_is_the_trend(hours: int, rows: int) -> None:
    trend, low, high = a_day(forecast(1000 + 2.0 * np.arange(rows), hours).trend)
    assert trend == pytest.approx(48, abs=8)
    assert low <= 48 <= high


def test_a_step_of_the_level_is_no_trend() -> None:
    values = daily(400)
    values[380:] += 900
    trend, *_ = a_day(forecast(values, 6).trend)
    assert abs(trend) < 20


def test_rows_longer_than_a_day_have_a_trend() -> None:
    found = forecast(100 + 7.0 * np.arange(30), 4 * 7 * 24, noise=1.0, step=7 * DAY)
    assert a_day(found.trend)[0] == pytest.approx(1, abs=0.2)


def test_a_day_that_is_only_just_seen_makes_the_trend_unsure() -> None:
    for phase in range(0, 24, 4):
        _, low, high = a_day(forecast(daily(60)[phase : phase + 30], 6).trend)
        assert low <= 0 <= high


def test_there_is_no_trend_where_a_wave_could_be_one() -> None:
    """Ten hours of a wave and ten hours of growth look alike."""
    found = forecast(1000 + 100 * np.sin(np.arange(60) * 2 * np.pi / 144), 2, step=600.0)
    assert not found.problem
    assert found.trend is None
    assert "less than a day" in found.trend_problem
    assert not [sample for sample in samples(("m", ""), found, NOW) if "trend" in sample.name]
    assert forecast(daily(100), 6).trend_problem == ""


def test_a_series_that_never_changed_has_none_from_the_first_hour() -> None:
    assert forecast(np.full(60, 7.0), 1, noise=0.0, step=60.0).trend == Estimate(0, 0, 0, 0, 0)
