"""How members are combined, how wide the intervals are, and what rows are made of points."""

import numpy as np
import pytest

from agent.api import ForecastRequest
from plugins.forecasting.answer import answer
from plugins.forecasting.arrays import Floats
from plugins.forecasting.combination import _left_out, combine
from plugins.forecasting.members import members
from plugins.forecasting.regular import TooLittle, regular
from plugins.forecasting.smoothing import Grid, smooth

HOUR, DAY = 3600.0, 86_400.0


def noise(rows: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(0, 1, rows)


def request(times: Floats, values: Floats, horizon: float = DAY, step: float | None = None) -> ForecastRequest:
    return ForecastRequest("predis_test", tuple(times.tolist()), tuple(values.tolist()), horizon, step)


def test_the_errors_of_an_origin_are_those_of_weights_from_the_others() -> None:
    paths = np.array([[[1.0], [1.0]], [[9.0], [9.0]]])  # two members, two origins, one row
    absolute = np.array([[0.0, 8.0], [8.0, 0.0]])  # the first is right at the first origin, the second at the other
    np.testing.assert_allclose(_left_out(paths, absolute), [[9.0], [1.0]], atol=1e-6)


def test_who_errs_less_counts_more() -> None:
    line = 5.0 * np.arange(120) + noise(120)
    weights = combine(line, 10, ()).weights
    assert weights["drift"] > 20 * weights["naive"]
    assert sum(weights.values()) == pytest.approx(1.0)


def test_beyond_what_was_tested_the_scale_grows_as_that_of_a_walk() -> None:
    found = combine(100 + noise(60).cumsum(), 60, ())
    tested = 60 // 4
    assert found.scale[-1] / found.scale[tested - 1] == pytest.approx(2.0, rel=0.1)
    assert (np.diff(found.scale[tested:]) > 0).all()


def test_short_tests_make_wide_intervals() -> None:
    walk = 100 + noise(2000).cumsum()
    assert combine(walk[:60], 12, ()).quantile95 > combine(walk, 12, ()).quantile95 > 1.96
    assert combine(walk, 12, ()).quantile80 > 1.28


def test_smoothing_with_a_carry_is_taylors_recursion() -> None:
    values, alpha, gain, carry, period = 50 + noise(70).cumsum(), 0.2, 0.3, 0.6, 7
    level = values[:14].mean()
    season = np.array([(values[:14] - level)[phase::7].mean() for phase in range(7)])
    last = 0.0
    for row, value in enumerate(values):
        error = value - level - season[row % period]
        level += alpha * (error - carry * last)
        season[row % period] += gain * (error - carry * last)
        last = error
    expected = [level + season[(70 + ahead) % 7] + carry ** (ahead + 1) * last for ahead in range(10)]
    ours = smooth(values, [70], 10, Grid.of((alpha,), carry=(carry,), seasons=[(gain,)]), (period,))[0]
    np.testing.assert_allclose(ours, expected)


def test_what_is_positive_is_forecast_as_logarithms_too() -> None:
    grown = np.exp(0.05 * np.arange(100)) * (1 + 0.01 * noise(100))
    found = members(grown[:88], [60, 88], 12, ())
    assert np.abs(found["log drift"][-1] / grown[88:] - 1).mean() < 0.05
    assert np.abs(found["drift"][-1] / grown[88:] - 1).mean() > 0.2
    grown[30] = 0.0
    assert not [name for name in members(grown[:88], [60, 88], 12, ()) if name.startswith("log")]


def test_the_peak_is_above_the_peak_of_the_middle() -> None:
    found = answer(request(HOUR * np.arange(480), 100 + 3 * noise(480)))
    assert found.peak is not None
    assert max(found.middle) < 102
    assert 103 < found.peak.middle < 111  # of 24 rows, the highest is about two standard deviations above the mean


def test_rows_are_means_that_end_with_the_newest_point() -> None:
    rows = regular(request(10.0 * np.arange(1, 121), np.arange(120.0), 600.0, step=60.0))
    assert rows.end == 1200.0
    assert rows.step == 60.0
    np.testing.assert_allclose(rows.values, np.arange(20) * 6 + 2.5)


def test_the_order_of_points_does_not_matter_and_of_two_at_a_time_the_later_counts() -> None:
    times, values = HOUR * np.arange(100.0), noise(100)
    mixed = np.random.default_rng(3).permutation(100)
    expected = regular(request(times, values))
    np.testing.assert_array_equal(regular(request(times[mixed], values[mixed])).values, expected.values)
    doubled = regular(request(np.r_[times, times[50]], np.r_[values, 77.0]))
    assert doubled.values[50] == 77.0
    assert len(doubled.values) == 100


def test_a_long_gap_is_filled_by_the_day_before_and_a_short_one_by_a_line() -> None:
    at = np.arange(24 * 10.0)
    values = 100 + 30 * np.sin(at * 2 * np.pi / 24)
    for first, last in ((120, 136), (122, 124)):
        kept = np.r_[0:first, last:240]
        rows = regular(request(HOUR * at[kept], values[kept]))
        assert rows.gaps == pytest.approx((last - first) / 240)
        np.testing.assert_allclose(rows.values, values, atol=1.5)


def test_a_step_too_short_for_the_horizon_is_refused() -> None:
    with pytest.raises(TooLittle, match="a step of 10 s is too short for 10 d ahead"):
        regular(request(HOUR * np.arange(500), noise(500), 10 * DAY, step=10.0))
