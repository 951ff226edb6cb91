"""The plugin forecasting: what it answers, what it says that it cannot, and the metrics that come of it."""

import logging
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.api import CacheAddress, Estimate, Forecast, ForecastRequest, Host, PredisError, Wanted
from agent.metrics.model import SeriesKey
from plugins.forecasting.answer import answer
from plugins.forecasting.arrays import Floats
from plugins.forecasting.config import ForecastingConfig
from plugins.forecasting.forecaster import Rows, forecast_rows
from plugins.forecasting.mend import level_shifts_moved
from plugins.forecasting.plugin import Forecasting, samples
from plugins.forecasting.regular import TooLittle, regular
from tests.servers import ROOT

NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86_400.0
UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": HOUR, "d": DAY}
ADVICE = re.compile(
    r"; come back in ([\d.]+) (s|min|h|d)(?:, or ask for a horizon of (\d+)([smhd])"
    r"| for a horizon of (\d+)([smhd]), in ([\d.]+) (s|min|h|d) for .*)?$"
)


def request(values: Sequence[float], step: float = HOUR, horizon: float = DAY, **more: float | None) -> ForecastRequest:
    times = tuple(NOW - step * (len(values) - 1 - row) for row in range(len(values)))
    return ForecastRequest("predis_test", times, tuple(map(float, values)), horizon, **more)


def daily(rows: int, seed: int = 5, noise: float = 2.0) -> Floats:
    at = np.arange(rows)
    return np.asarray(100 + 30 * np.sin(at * 2 * np.pi / 24) + np.random.default_rng(seed).normal(0, noise, rows))


def test_a_daily_pattern_goes_on() -> None:
    rows = daily(24 * 20 + 24)
    found = answer(request(rows[:-24]))
    assert len(found.times) == 24
    assert found.times[0] == NOW + HOUR
    assert np.abs(np.array(found.middle) - rows[-24:]).mean() < 3.5
    assert found.error is not None
    assert found.error < 1
    inside = (np.array(found.low95) <= rows[-24:]) & (rows[-24:] <= np.array(found.high95))
    assert inside.mean() >= 0.85
    assert np.mean(np.array(found.high95) - np.array(found.low95)) < 40  # and says more than "somewhere in its range"
    assert found.peak is not None
    assert found.peak.low95 <= rows[-24:].max() <= found.peak.high95
    assert found.trend is not None
    assert found.trend.low95 <= 0 <= found.trend.high95


def test_time_to_full_of_a_steady_growth() -> None:
    growth = 1000 + 5.0 * np.arange(24 * 14) + np.random.default_rng(1).normal(0, 4, 24 * 14)
    found = answer(request(growth, horizon=3 * DAY, limit=float(growth[-1] + 5 * 40)))
    likely, earliest, latest = found.reach
    assert likely is not None
    assert earliest is not None
    assert latest is not None
    assert earliest <= likely <= latest
    assert abs(likely - (NOW + 40 * HOUR)) < 6 * HOUR
    assert found.trend is not None
    assert found.trend.middle == pytest.approx(5 / HOUR, rel=0.15)


def test_a_limit_below_is_reached_by_falling() -> None:
    free = 1000 - 5.0 * np.arange(24 * 7) + np.random.default_rng(1).normal(0, 3, 24 * 7)
    likely, earliest, _ = answer(request(free, horizon=2 * DAY, limit=float(free[-1] - 100), low=0.0)).reach
    assert likely is not None
    assert earliest is not None
    assert earliest <= likely
    assert abs(likely - (NOW + 20 * HOUR)) < 5 * HOUR


def test_a_limit_that_is_far_is_not_reached() -> None:
    assert answer(request(daily(300), limit=1e6)).reach == (None, None, None)


def test_a_series_that_never_changed_stays() -> None:
    found = answer(request([7.0] * 100, limit=8.0))
    assert set(found.middle) == {7.0}
    assert set(found.low95) == {7.0}
    assert found.model == "constant"
    assert found.reach == (None, None, None)
    assert found.trend == Estimate(0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("values", "step", "horizon", "why"),
    [
        ([], HOUR, DAY, "0 points are too few: it takes 12 at least"),
        ([1.0, 2.0] * 5, HOUR, DAY, "10 points are too few"),
        ([1.0, 2.0] * 20, 60.0, 7 * DAY, "39 min of history are too little for 7 d ahead"),
        ([math.nan] * 50, HOUR, DAY, "0 points are too few"),
    ],
)
def test_too_little_history_is_said(values: list[float], step: float, horizon: float, why: str) -> None:
    found = answer(request(values, step, horizon))
    assert why in found.problem
    assert found.times == ()


@pytest.mark.parametrize(
    ("points", "step", "horizon", "advice"),
    [
        (8, 10.0, 7 * DAY, "; come back in 40 s for a horizon of 3m, in 3.5 d for 7 d"),
        (8, 10.0, 100.0, "; come back in 40 s"),
        (1, 10.0, DAY, "1 point is too few: it takes 12 at least"),
        (12, 3.6, 7 * DAY, "; come back in 16 s for a horizon of 110s, in 3.5 d for 7 d"),
        (13, 10.0, 7 * DAY, "; come back in 3.5 d, or ask for a horizon of 4m"),
        (40, 60.0, 7 * DAY, "; come back in 3.47 d, or ask for a horizon of 78m"),
        (12, 1.2, 20.0, "; come back in 9 s"),
    ],
)
def test_who_comes_too_early_is_told_when_or_what_to_ask(points: int, step: float, horizon: float, advice: str) -> None:
    assert answer(request([float(row % 5) for row in range(points)], step, horizon)).problem.endswith(advice)


@given(st.integers(2, 60), st.sampled_from([0.25, 1.0, 1.2, 7.3, 10.0, 61.0, 3600.0]), st.floats(30.0, 60 * DAY))
def test_the_advice_holds(points: int, step: float, horizon: float) -> None:
    """Who comes back then, or asks for that, is not told that it is too little."""

    def refused(count: int, ahead: float) -> str:
        try:
            regular(request([float(row % 5) for row in range(count)], step, ahead))
        except TooLittle as why:
            return str(why)
        return ""

    problem = refused(points, horizon)
    advice = ADVICE.search(problem)
    assert (advice is None) == (problem == ""), problem
    if advice is None:
        return
    first, unit, now, now_unit, then, then_unit, last, last_unit = advice.groups()
    if now:
        assert refused(points, UNITS[now_unit] * int(now)) == ""
    if then:
        assert refused(points + math.ceil(UNITS[unit] * float(first) / step), UNITS[then_unit] * int(then)) == ""
        first, unit = last, last_unit
    more = 1.01 * UNITS[unit] * float(first) / step  # what is told to three digits may be a little less than it takes
    if more < 20_000:
        assert refused(points + math.ceil(more), horizon) == ""


def test_a_series_of_gaps_is_refused_and_one_with_some_is_not() -> None:
    full = request(daily(480))
    few = [row for row in range(480) if not 100 <= row < 130 and row % 17]
    some = ForecastRequest("predis_test", tuple(full.times[r] for r in few), tuple(full.values[r] for r in few), DAY)
    with_gaps, without = answer(some), answer(full)
    assert not with_gaps.problem
    assert np.abs(np.array(with_gaps.middle) - np.array(without.middle)).mean() < 4
    holes = [row for row in range(480) if row < 60 or row > 400]
    torn = ForecastRequest(
        "predis_test", tuple(full.times[r] for r in holes), tuple(full.values[r] for r in holes), DAY
    )
    assert "there were no points" in answer(torn).problem


def test_numbers_that_are_none_and_clocks_that_jump_back_are_left_out() -> None:
    good = request(daily(300))
    times, values = list(good.times), list(good.values)
    times[100], values[200] = times[90], math.inf
    bad = ForecastRequest("predis_test", tuple(times), tuple(values), DAY)
    assert np.abs(np.array(answer(bad).middle) - np.array(answer(good).middle)).mean() < 3


def test_a_step_of_the_level_is_no_growth() -> None:
    values = daily(400, noise=1.0)
    values[:200] -= 400
    mended = level_shifts_moved(values)
    assert abs(mended[:190].mean() - mended[210:].mean()) < 25
    found = answer(request(values))
    assert np.abs(np.array(found.middle) - 100).max() < 60
    assert np.mean(np.array(found.high95) - np.array(found.low95)) < 100


def test_usual_changes_are_no_steps() -> None:
    for values in (daily(400), np.random.default_rng(1).normal(0, 1, 500).cumsum(), np.arange(200.0)):
        np.testing.assert_array_equal(level_shifts_moved(values), values)


def test_bounds_hold_for_all_lines() -> None:
    share = np.clip(np.linspace(0.2, 0.97, 200) + np.random.default_rng(2).normal(0, 0.05, 200), 0, 1)
    found = answer(request(share, horizon=4 * DAY, low=0.0, high=1.0))
    for line in (found.middle, found.low80, found.high80, found.low95, found.high95):
        assert min(line) >= 0
        assert max(line) <= 1
    assert found.peak is not None
    assert found.peak.high95 <= 1


def test_a_step_that_fits_is_chosen() -> None:
    ten_seconds = request(np.sin(np.arange(6 * 360) / 50), step=10.0, horizon=HOUR)
    found = answer(ten_seconds)
    assert found.times[1] - found.times[0] == 30
    assert found.times[-1] == NOW + HOUR


def test_intervals_hold_what_they_say_on_walks() -> None:
    inside80, inside95 = [], []
    for seed in range(40):
        rows = np.random.default_rng(seed).normal(0, 1, 312).cumsum()
        bands, actual = forecast_rows(Rows(rows[:300]), 12), rows[300:]
        inside80.append(np.mean((bands.low80 <= actual) & (actual <= bands.high80)))
        inside95.append(np.mean((bands.low95 <= actual) & (actual <= bands.high95)))
    assert 0.68 <= np.mean(inside80) <= 0.92
    assert 0.89 <= np.mean(inside95) <= 0.995


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12) | st.sampled_from([0.0, 5.0, 1e-9]), min_size=12, max_size=60),
    st.integers(1, 40),
    st.sampled_from([(), (7,), (6, 12)]),
)
def test_any_series_has_ordered_finite_bands(values: list[float], horizon: int, periods: tuple[int, ...]) -> None:
    bands = forecast_rows(Rows(np.array(values), periods), horizon)
    lines = np.array([bands.low95, bands.low80, bands.middle, bands.high80, bands.high95])
    assert lines.shape == (5, horizon)
    assert np.isfinite(lines).all()
    assert (np.diff(lines, axis=0) >= 0).all()


def estimates(found: Forecast) -> Floats:
    assert found.peak is not None
    assert found.trend is not None
    return np.array([astuple(found.peak), astuple(found.trend)])


@pytest.mark.parametrize("exponent", [-1040, -600, 600, 1016])
def test_the_size_of_values_changes_nothing(exponent: int) -> None:
    """To the ends of what a float can be: 100 · 2¹⁰¹⁶ is 7e307, and 2⁻¹⁰⁴⁰ below the smallest of full precision."""
    size = math.ldexp(1.0, exponent)
    usual = answer(request(daily(300), limit=120.0, high=150.0))
    found = answer(request(daily(300) * size, limit=120.0 * size, high=150.0 * size))
    for name in ("middle", "low80", "high80", "low95", "high95"):
        np.testing.assert_allclose(np.array(getattr(found, name)) / size, getattr(usual, name), rtol=0.005)
    np.testing.assert_allclose(estimates(found)[0] / size, estimates(usual)[0], rtol=0.005)
    np.testing.assert_allclose(estimates(found)[1] / size, estimates(usual)[1], rtol=0.2, atol=1e-5)
    assert found.reach[0] == pytest.approx(usual.reach[0], abs=HOUR / 4)


@pytest.mark.parametrize(
    "values",
    [
        np.where(np.arange(200) % 2, 1.7e308, -1.7e308),
        1e308 * (1 + np.arange(200) / 300),
        np.where(np.arange(200) == 100, 1e308, daily(200)),
        np.where(np.arange(200) < 100, 1e-300, 1e300) * daily(200),
        np.full(50, 1.7e308),
    ],
)
def test_values_at_the_ends_of_what_a_number_can_be_have_finite_forecasts(values: Floats) -> None:
    found = answer(request(values, limit=1e308))
    lines = np.array([found.low95, found.low80, found.middle, found.high80, found.high95])
    assert np.isfinite(lines).all()
    assert (np.diff(lines, axis=0) >= 0).all()
    assert np.isfinite(estimates(found)).all()


class Kept:
    """Forecasts that a test has made."""

    def __init__(self) -> None:
        self.wanted: dict[str, tuple[Wanted, ...]] = {}
        self.made: dict[SeriesKey, Forecast] = {}

    def want(self, who: str, wanted: Sequence[Wanted]) -> None:
        self.wanted[who] = tuple(wanted)

    def newest(self) -> Mapping[SeriesKey, Forecast]:
        return self.made


def host(kept: Kept) -> Host:
    nowhere = CacheAddress(Path("/nowhere"), "127.0.0.1", 0, None, Path("/nowhere"))
    return Host(Path("/nowhere"), nowhere, "0", logging.getLogger("test"), forecasts=kept)


def test_it_wants_what_its_table_says_and_gives_it_as_metrics() -> None:
    kept, plugin = Kept(), Forecasting(ForecastingConfig(metrics=["predis_a"], limits={"predis_a": 9.0}))
    plugin.predis_start(host(kept))
    assert kept.wanted == {"forecasting": (Wanted("predis_a", 7 * DAY, 900.0, 9.0),)}
    kept.made[("predis_a", ("x", "y"))] = Forecast(problem="too little")
    kept.made[("predis_b", ())] = answer(request(daily(300), limit=120.0))
    given = {(sample.name, sample.labels): sample.value for sample in plugin.predis_collect()}
    assert given["predis_forecast_available", ("predis_a", "x,y")] == 0
    assert given["predis_forecast_available", ("predis_b", "")] == 1
    assert plugin.note == "no forecast of predis_a{x,y}: too little"
    declared = {spec.name: spec for spec in plugin.predis_metric_specs()}
    assert all(len(labels) == len(declared[name].labels) for name, labels in given)
    plugin.predis_stop()
    assert kept.wanted == {"forecasting": ()}


def test_the_samples_of_a_forecast_say_what_it_says() -> None:
    made = answer(request(daily(300), limit=120.0))
    given = {(s.name.removeprefix("predis_forecast_"), *s.labels[2:]): s.value for s in samples(("m", ""), made, NOW)}
    assert given["value", "middle"] == made.middle[-1]
    assert given["value", "low95"] == made.low95[-1]
    assert made.peak is not None
    assert given["peak", "high80"] == made.peak.high80
    assert made.reach[0] is not None
    assert given["time_to_full_seconds", "likely"] == made.reach[0] - NOW
    assert given["horizon_seconds",] == DAY


def test_a_limit_out_of_reach_gives_no_time() -> None:
    made = answer(request(daily(300), limit=1e9))
    assert not [s for s in samples(("m", ""), made, NOW) if "time_to_full" in s.name]


@pytest.mark.parametrize(
    ("module", "without"),
    [("plugin", ("numpy", "scipy", "statsmodels")), ("answer", ("scipy", "statsmodels", "pandas"))],
)
def test_the_agent_gets_nothing_heavy_and_a_worker_no_more_than_numpy(module: str, without: tuple[str, ...]) -> None:
    program = f"import sys, plugins.forecasting.{module}; print([name for name in {without} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def write(path: Path, data: Mapping[str, Floats], ids: Sequence[str]) -> None:
    np.savez(path, ids=np.array(ids), **data)


def test_the_evaluation_never_looks_at_what_is_to_be_forecast(tmp_path: Path) -> None:
    plugin = Forecasting(ForecastingConfig())
    results = []
    for number, rest in enumerate((np.zeros(12), np.arange(12.0))):
        write(tmp_path / f"{number}.npz", {"train_a": daily(300), "test_a": rest}, ["a"])
        plugin.predis_evaluate("forecast", tmp_path / f"{number}.npz", tmp_path / f"out{number}.npz", {"period": "24"})
        with np.load(tmp_path / f"out{number}.npz") as out:
            results.append({name: out[name] for name in out.files})
    assert set(results[0]) == {"mean_a", "lo95_a", "hi95_a"}
    for name, line in results[0].items():
        assert line.shape == (12,)
        np.testing.assert_array_equal(line, results[1][name])


@pytest.mark.parametrize(("kind", "period", "most"), [("hourly", 24, 0.80), ("weekly", 1, 0.90)])
def test_real_series_are_forecast_better_than_by_repeating(
    shared_data: Path, tmp_path: Path, kind: str, period: int, most: float
) -> None:
    """12 series each, against the last season (hourly) and the last value (weekly)."""
    with np.load(shared_data / "forecast" / f"m4_{kind}.npz") as data:
        ids = [str(name) for name in data["ids"][::16][:12]]
        series = {f"{part}_{name}": data[f"{part}_{name}"] for name in ids for part in ("train", "test")}
    write(tmp_path / "in.npz", series, ids)
    Forecasting(ForecastingConfig()).predis_evaluate(
        "forecast", tmp_path / "in.npz", tmp_path / "out.npz", {"period": str(period)}
    )
    errors, covered = [], []
    with np.load(tmp_path / "out.npz") as out:
        for name in ids:
            train, actual = series[f"train_{name}"], series[f"test_{name}"]
            naive = np.abs(np.resize(train[-period:], len(actual)) - actual).mean()
            errors.append(np.abs(out[f"mean_{name}"] - actual).mean() / naive)
            covered.append(np.mean((out[f"lo95_{name}"] <= actual) & (actual <= out[f"hi95_{name}"])))
    assert np.exp(np.mean(np.log(errors))) < most
    assert 0.85 <= np.mean(covered) <= 1


@pytest.mark.parametrize(
    ("data", "ids", "complaint"),
    [
        ({}, ["a"], "train_a is not a file in the archive; it takes ids, and train_ID and test_ID of each"),
        ({"train_a": np.full(50, np.nan), "test_a": np.ones(3)}, ["a"], "train_a has no number"),
    ],
)
def test_a_file_that_cannot_be_evaluated_is_refused(
    tmp_path: Path, data: dict[str, Floats], ids: list[str], complaint: str
) -> None:
    write(tmp_path / "in.npz", data, ids)
    with pytest.raises(PredisError, match=complaint):
        Forecasting(ForecastingConfig()).predis_evaluate(
            "forecast", tmp_path / "in.npz", tmp_path / "out.npz", {"period": "1"}
        )


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_text("nothing")
    with pytest.raises(PredisError, match=r"cannot be read: it takes an \.npz"):
        Forecasting(ForecastingConfig()).predis_evaluate(
            "forecast", tmp_path / "in.npz", tmp_path / "out.npz", {"period": "1"}
        )
