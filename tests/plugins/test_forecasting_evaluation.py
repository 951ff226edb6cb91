"""The evaluation's own figures are those of the competition's definitions."""

from pathlib import Path

import numpy as np
import pytest

from agent.api import PredisError
from bench.evaluation.forecast import last_season, naive2, owa, score
from plugins.forecasting.evaluation import evaluate

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


def test_gaps_are_filled_and_cost_no_series(tmp_path: Path) -> None:
    season = np.tile([10.0, 20.0, 30.0, 20.0], 20)
    gaps = season.copy()
    gaps[[0, 37, 50]] = np.nan, np.inf, np.nan
    np.savez(tmp_path / "in.npz", ids=["a"], train_a=gaps, test_a=np.zeros(4))
    evaluate(tmp_path / "in.npz", tmp_path / "out.npz", 4)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["mean_a"], season[:4], atol=2)
        assert all(np.isfinite(found[name]).all() for name in found)


@pytest.mark.parametrize(
    ("ids", "train", "test", "what"),
    [
        ([], TRAIN, ACTUAL, "ids names no series"),
        (["a"], np.ones((3, 20)), ACTUAL, r"train_a has the shape \(3, 20\)"),
        (["a"], np.array([1.0] * 11 + [np.nan] * 9), ACTUAL, "train_a has less than 12 numbers"),
        (["a"], np.ones(20), ACTUAL[:0], "test_a is empty"),
    ],
)
def test_what_cannot_be_forecast_is_named(
    tmp_path: Path, ids: list[str], train: np.ndarray, test: np.ndarray, what: str
) -> None:
    np.savez(tmp_path / "in.npz", ids=ids, train_a=train, test_a=test)
    with pytest.raises(PredisError, match=rf"in\.npz: {what}"):
        evaluate(tmp_path / "in.npz", tmp_path / "out.npz", 1)
