"""The evaluation's own figures are those of the competition's definitions."""

import numpy as np
import pytest

from bench.evaluation.forecast import last_season, naive2, owa, score

TRAIN = np.array([10.0, 20.0, 12.0, 22.0, 14.0, 24.0, 16.0, 26.0])
ACTUAL = np.array([18.0, 28.0])


def test_the_scores_of_one_series_by_hand() -> None:
    data = {"train_a": TRAIN, "test_a": ACTUAL}
    forecasts = {"mean_a": np.array([20.0, 28.0]), "lo95_a": np.array([19.0, 27.0]), "hi95_a": np.array([21.0, 29.0])}
    scores = score(data, forecasts, ["a"], 2)
    assert scores.smape[0] == pytest.approx(200 * (2 / 38) / 2)
    assert scores.mase[0] == pytest.approx(1.0 / 2.0)  # the seasonal differences are all 2
    assert scores.interval[0] == pytest.approx((2 + 40 * 1 + 2) / 2 / 2.0)
    assert scores.covered[0] == 0.5


def test_naive2_against_itself_is_one_and_half_its_errors_a_half() -> None:
    data = {"train_a": TRAIN, "test_a": ACTUAL}
    base = score(data, {"mean_a": naive2(TRAIN, 2, 1)}, ["a"], 1)
    assert owa(base, base) == 1.0
    np.testing.assert_array_equal(naive2(TRAIN, 2, 1), [26.0, 26.0])
    half = score(data, {"mean_a": (naive2(TRAIN, 2, 1) + ACTUAL) / 2}, ["a"], 1)
    assert owa(half, base) < 0.6


def test_naive2_follows_a_season_that_is_there() -> None:
    season = np.tile([10.0, 20.0, 30.0, 20.0], 10)
    np.testing.assert_allclose(naive2(season, 4, 4), [10.0, 20.0, 30.0, 20.0])
    np.testing.assert_array_equal(last_season(TRAIN, 3, 2), [16.0, 26.0, 16.0])
