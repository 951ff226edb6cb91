"""The members of the combination: as others compute them, and never with a look at what came later."""

import numpy as np
import pytest

from plugins.forecasting.arrays import Floats
from plugins.forecasting.members import members
from plugins.forecasting.regression import autoregress
from plugins.forecasting.seasons import calendar, declared, detected, usable
from plugins.forecasting.smoothing import Grid, smooth


def walk(rows: int, seed: int = 1) -> Floats:
    return 100 + np.cumsum(np.random.default_rng(seed).normal(0, 1, rows))


def hourly(rows: int, seed: int = 1) -> Floats:
    at = np.arange(rows)
    noise = np.random.default_rng(seed).normal(0, 2, rows)
    return np.asarray(100 + 30 * np.sin(at * 2 * np.pi / 24) + 10 * (at % 168 > 120) + noise)


def test_simple_smoothing_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    values = walk(60)
    theirs = SimpleExpSmoothing(values, initialization_method="known", initial_level=values[:4].mean())
    expected = theirs.fit(smoothing_level=0.3, optimized=False).forecast(5)
    np.testing.assert_allclose(smooth(values, [60], 5, Grid.of((0.3,)))[0], expected, rtol=1e-10)


def test_a_damped_trend_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    values = walk(80)
    theirs = ExponentialSmoothing(
        values,
        trend="add",
        damped_trend=True,
        initialization_method="known",
        initial_level=values[:4].mean(),
        initial_trend=0.0,
    )
    fitted = theirs.fit(smoothing_level=0.5, smoothing_trend=0.2, damping_trend=0.9, optimized=False)
    # statsmodels' gain of the trend is a share of the level's
    ours = smooth(values, [80], 12, Grid.of((0.5,), (0.1,), (0.9,)))[0]
    np.testing.assert_allclose(ours, fitted.forecast(12), rtol=1e-10)


def test_seasonal_smoothing_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    values = hourly(24 * 8)
    first = values[:48]
    theirs = ETSModel(
        values,
        error="add",
        seasonal="add",
        seasonal_periods=24,
        initialization_method="known",
        initial_level=first.mean(),
        initial_seasonal=[(first - first.mean())[phase::24].mean() for phase in range(24)],
    )
    ours = smooth(values, [len(values)], 48, Grid.of((0.2,), seasons=[(0.3,)]), (24,))[0]
    np.testing.assert_allclose(ours, theirs.smooth([0.2, 0.3]).forecast(48), rtol=1e-10)


def test_an_autoregression_of_differences_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.ar_model import AutoReg

    changes = np.zeros(600)
    noise = np.random.default_rng(3).normal(0, 1, 600)
    for row in range(2, 600):
        changes[row] = 0.6 * changes[row - 1] - 0.3 * changes[row - 2] + noise[row]
    values = 50 + np.cumsum(changes)
    fitted = AutoReg(np.diff(values), lags=2, trend="n").fit()
    expected = values[-1] + np.cumsum(fitted.forecast(6))
    np.testing.assert_allclose(autoregress(values, [600], 6, (1, 2, 3), 1)[0], expected, atol=0.05)


def test_theta_has_half_the_slope_of_the_line() -> None:
    values = 10 + 2.0 * np.arange(100)
    path = smooth(values, [100], 3, Grid.of((1.0,)), line=0.5)[0]
    np.testing.assert_allclose(np.diff(path), 1.0)
    assert path[0] == pytest.approx(values[-1] + 1.0)


@pytest.mark.parametrize("periods", [(), (24,), (24, 168)])
def test_what_comes_after_an_origin_changes_no_forecast_from_it(periods: tuple[int, ...]) -> None:
    values = hourly(700)
    origins = [500, 560, 640, 700]
    before = members(values, origins, 24, periods)
    for index, origin in enumerate(origins[:-1]):
        other = values.copy()
        other[origin:] = 500 - other[origin:] * 3 % 77
        after = members(other, origins, 24, periods)
        assert after.keys() == before.keys()
        for name, paths in before.items():
            np.testing.assert_array_equal(paths[: index + 1], after[name][: index + 1], err_msg=name)
            if "naive" not in name:
                assert not np.array_equal(paths[-1], after[name][-1]), f"{name} looks at nothing of it"


def test_members_stay_finite_and_near_what_was() -> None:
    values = np.exp(np.linspace(0, 12, 120))  # a log model extrapolates this into the millions
    for name, paths in members(values, [80, 120], 40, (7,)).items():
        assert np.isfinite(paths).all(), name
        assert paths.min() >= 0, name
        assert paths[-1].max() <= values.max() + np.ptp(values), name


def test_seasons_by_the_calendar() -> None:
    assert calendar(3600) == (24, 168)
    assert calendar(900) == (96, 672)
    assert calendar(300) == (12, 288)
    assert calendar(86_400) == (7, 365)
    assert calendar(604_800) == (52,)
    assert calendar(10) == (360,)
    assert declared(24) == (24, 168)


def test_a_season_is_detected_where_there_is_one() -> None:
    at = np.arange(500)
    noise = np.random.default_rng(2).normal(0, 1, 500)
    assert detected(10 * np.sin(at * 2 * np.pi / 52) + 3 * (at % 52 == 7) + noise) == (52,)
    assert detected(np.asarray(noise.cumsum())) in ((), (7,), (12,), (24,), (52,), (168,))
    assert detected(np.ones(300)) == ()
    random = [detected(walk(300, seed)) for seed in range(60)]
    assert sum(found != () for found in random) < 30


def test_seasons_need_room_before_the_first_origin() -> None:
    assert usable((24, 168), 700, 48) == (24, 168)
    assert usable((24, 168), 400, 48) == (24,)
    assert usable((24, 168), 100, 48) == ()
