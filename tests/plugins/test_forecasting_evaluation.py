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
        (["a"], np.full(20, np.nan), ACTUAL, "train_a has no number"),
        (["a"], np.array(["many"] * 20), ACTUAL, "train_a or test_a cannot be read"),
        (["a"], np.ones(20), ACTUAL[:0], "test_a is empty"),
    ],
)
def test_what_cannot_be_forecast_is_named(
    tmp_path: Path, ids: list[str], train: np.ndarray, test: np.ndarray, what: str
) -> None:
    np.savez(tmp_path / "in.npz", ids=ids, train_a=train, test_a=test)
    with pytest.raises(PredisError, match=rf"in\.npz: {what}"):
        evaluate(tmp_path / "in.npz", tmp_path / "out.npz", 1)


def made(tmp_path: Path, period: int = 1, **arrays: np.ndarray | list[str]) -> dict[str, np.ndarray]:
    np.savez(tmp_path / "in.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes a flag for a possible array
    evaluate(tmp_path / "in.npz", tmp_path / "out.npz", period)
    with np.load(tmp_path / "out.npz") as found:
        return {name: found[name] for name in found.files}


def test_a_short_series_gets_its_last_value_and_an_interval_that_tells_how_little_is_known(tmp_path: Path) -> None:
    steps = np.array([10.0, 11.0, 9.0, 10.0, 11.0, 10.0, 11.0, 10.0, 9.0, 10.0, 11.0])
    short = {"one": steps[:1], "two": steps[:2], "eleven": steps, "still": np.full(4, 8.0), "below": -steps}
    gaps = np.full(40, np.nan)
    gaps[::4] = 10.0 + np.arange(10.0)
    short["gaps"] = gaps
    series = {**short, "long": TRAIN.repeat(3)}
    arrays = {
        f"{part}_{n}": v if part == "train" else np.zeros(9) for n, v in series.items() for part in ("train", "test")
    }
    found = made(tmp_path, ids=list(series), **arrays)
    for name, train in short.items():
        np.testing.assert_array_equal(found[f"mean_{name}"], np.full(9, train[np.isfinite(train)][-1]))
    for name in series:
        low, middle, high = (found[f"{line}_{name}"] for line in ("lo95", "mean", "hi95"))
        assert np.isfinite([low, middle, high]).all()
        assert (low < middle).all()
        assert (middle < high).all()
    above = {name: found[f"hi95_{name}"] - found[f"mean_{name}"] for name in series}
    assert above["eleven"][0] == pytest.approx(np.sqrt((np.diff(steps) ** 2).mean()) * 2.228)
    assert above["two"][0] == pytest.approx(12.706)  # one step of 1: Student's quantile for one degree of freedom
    assert above["one"][0] == 10
    assert above["still"][0] == 2
    np.testing.assert_allclose(above["eleven"], above["eleven"][0] * np.sqrt(np.arange(1, 10)))
    assert (found["lo95_two"] == 0).all()  # nothing was below
    assert (found["lo95_below"] < -11).all()


def test_intervals_of_short_walks_hold_what_they_say(tmp_path: Path) -> None:
    drawn = np.random.default_rng(6).normal(size=(400, 9)).cumsum(axis=1) + 1000
    arrays = {f"train_{n}": row[:4] for n, row in enumerate(drawn)} | {
        f"test_{n}": row[4:] for n, row in enumerate(drawn)
    }
    found = made(tmp_path, ids=list(map(str, range(400))), **arrays)
    inside = [(found[f"lo95_{n}"] <= row[4:]) & (row[4:] <= found[f"hi95_{n}"]) for n, row in enumerate(drawn)]
    assert 0.92 <= np.mean(inside) <= 0.98


@pytest.mark.parametrize("size", [1e-300, 1e300, 1e306])
@pytest.mark.parametrize("rows", [5, 60])
def test_any_size_of_values_has_intervals(tmp_path: Path, size: float, rows: int) -> None:
    train = np.random.default_rng(2).normal(100, 3, rows)
    train[2] = np.nan
    found = made(tmp_path, ids=["a"], train_a=train * size, test_a=np.zeros(6))
    lines = np.array([found["lo95_a"], found["mean_a"], found["hi95_a"]])
    assert np.isfinite(lines).all()
    assert (np.diff(lines, axis=0) > 0).all()


def test_series_that_cannot_be_forecast_keep_none_of_the_others_out(tmp_path: Path) -> None:
    good = {"train_a": TRAIN.repeat(3), "test_a": ACTUAL, "train_b": TRAIN.repeat(2), "test_b": ACTUAL}
    bad = {"train_c": np.full(20, np.nan), "test_c": ACTUAL, "train_d": TRAIN}
    with pytest.raises(PredisError) as told:
        made(tmp_path, ids=["c", "a", "d", "b"], **good, **bad)
    first, second, rest = str(told.value).splitlines()
    assert first.endswith("in.npz: train_c has no number")
    assert "test_d is not a file in the archive" in second
    assert rest == f"The others (2) are in {tmp_path / 'out.npz'}."
    with np.load(tmp_path / "out.npz") as found:
        assert set(found.files) == {f"{line}_{name}" for line in ("mean", "lo95", "hi95") for name in ("a", "b")}
