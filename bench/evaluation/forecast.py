"""Forecasts of M4's hourly and weekly series, scored as the competition did, beside simple peers.

    python -m bench.evaluation.forecast [FOLDER]     FOLDER has m4_hourly.npz and m4_weekly.npz

The plugin is run by its hook, with its defaults. Definitions: Makridakis, Spiliotis & Assimakopoulos, "The M4
Competition" (2020), and Mcompetitions/M4-methods. Intervals of the figures: bootstrap over the series.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.report import Table
from plugins.forecasting.config import ForecastingConfig
from plugins.forecasting.plugin import Forecasting

Floats = npt.NDArray[np.float64]
Forecaster = Callable[[Floats, int, int], Floats]
FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "forecast"
PERIODS = {"hourly": 24, "weekly": 1}
RESAMPLES = 2000
TRIED = (
    "Tried on these series before the defaults were fixed: about 170 settings of single members (lags, windows, ridge, "
    "grids), 45 sets of members with weights by 7 powers of their errors, 14 scales of the intervals."
)


@dataclass(frozen=True)
class Scores:
    """Of each series: (series,). Without intervals, `interval` and `covered` are NaN."""

    smape: Floats
    mase: Floats
    interval: Floats
    covered: Floats


def score(data: dict[str, Floats], forecasts: dict[str, Floats], ids: list[str], period: int) -> Scores:
    """Forecasts as `predis-agent eval forecast` writes them, against test_ID."""
    rows = []
    for name in ids:
        train, actual, mean = data[f"train_{name}"], data[f"test_{name}"], forecasts[f"mean_{name}"]
        scale = np.abs(train[period:] - train[:-period]).mean()
        error = np.abs(actual - mean)
        row = [200 * (error / (np.abs(actual) + np.abs(mean))).mean(), error.mean() / scale, np.nan, np.nan]
        if f"lo95_{name}" in forecasts:
            low, high = forecasts[f"lo95_{name}"], forecasts[f"hi95_{name}"]
            outside = np.maximum(low - actual, 0) + np.maximum(actual - high, 0)
            row[2:] = [(high - low + 40 * outside).mean() / scale, ((low <= actual) & (actual <= high)).mean()]
        rows.append(row)
    return Scores(*np.array(rows).T)


def owa(scores: Scores, naive2: Scores, chosen: npt.NDArray[np.int_] | slice = slice(None)) -> float:
    """Overall weighted average: both errors over Naive2's, each averaged over the series first."""
    smape = scores.smape[chosen].mean() / naive2.smape[chosen].mean()
    return float((smape + scores.mase[chosen].mean() / naive2.mase[chosen].mean()) / 2)


def last_season(train: Floats, horizon: int, period: int) -> Floats:
    """The last season again and again."""
    return np.resize(train[-period:], horizon)


def naive2(train: Floats, horizon: int, period: int) -> Floats:
    """M4's benchmark: the last value, seasonally adjusted where its autocorrelation is significant at 90 %."""
    index = _indices(train, period) if _is_seasonal(train, period) else np.ones(period)
    rows = len(train) - 1 + np.arange(horizon + 1)
    return np.asarray(train[-1] / index[rows[0] % period] * index[rows[1:] % period])


def theta(train: Floats, horizon: int, period: int) -> Floats:
    """The Theta method of statsmodels."""
    from statsmodels.tsa.forecasting.theta import ThetaModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ThetaModel(train, period=period, deseasonalize=period > 1)
        return np.asarray(model.fit().forecast(horizon), dtype=float)


def _is_seasonal(train: Floats, period: int) -> bool:
    if period == 1 or len(train) < 3 * period:
        return False
    x = train - train.mean()
    r = np.array([x[k:] @ x[:-k] for k in range(1, period + 1)]) / (x @ x)
    return bool(abs(r[-1]) > 1.645 * np.sqrt((1 + 2 * (r[:-1] ** 2).sum()) / len(x)))


def _indices(train: Floats, period: int) -> Floats:
    kernel = np.ones(period) / period if period % 2 else np.r_[0.5, np.ones(period - 1), 0.5] / period
    trend = np.convolve(train, kernel, "valid")
    first = len(kernel) // 2
    ratio, phase = train[first : first + len(trend)] / trend, (first + np.arange(len(trend))) % period
    index = np.array([ratio[phase == p].mean() for p in range(period)])
    return np.asarray(index / index.mean())


def evaluate(source: Path, period: int) -> tuple[dict[str, Floats], list[str], dict[str, Floats], float]:
    """The data, the ids, our forecasts of them, and the seconds that these took."""
    with np.load(source) as file:
        data = {name: np.asarray(file[name], float) for name in file.files if name != "ids"}
        ids = [str(name) for name in file["ids"]]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.npz"
        began = time.perf_counter()
        Forecasting(ForecastingConfig()).predis_evaluate("forecast", source, target, {"period": str(period)})
        took = time.perf_counter() - began
        with np.load(target) as file:
            return data, ids, {name: file[name] for name in file.files}, took


def rows_of(kind: str, source: Path, period: int) -> list[list[str]]:
    """Rows of the table: ours, and the peers."""
    data, ids, ours, took = evaluate(source, period)
    peers: dict[str, Forecaster] = {"last season" if period > 1 else "last value": last_season, "Theta": theta}

    def of(forecaster: Forecaster) -> Scores:
        made = {f"mean_{i}": forecaster(data[f"train_{i}"], len(data[f"test_{i}"]), period) for i in ids}
        return score(data, made, ids, period)

    base, mine = of(naive2), score(data, ours, ids, period)
    chosen = np.random.default_rng(1).integers(0, len(ids), (RESAMPLES, len(ids)))

    def spread(figure: Callable[[Any], float], digits: int) -> str:
        low, high = np.quantile([figure(some) for some in chosen], [0.025, 0.975])
        return f"{figure(slice(None)):.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"

    rows = [
        [
            f"{kind}: forecasting",
            spread(lambda some: owa(mine, base, some), 3),
            spread(lambda some: float(mine.interval[some].mean()), 2),
            spread(lambda some: float(mine.covered[some].mean()), 3),
            f"{took / len(ids):.2f}",
        ]
    ]
    for name, forecaster in peers.items():
        scores = of(forecaster)
        rows.append([f"{kind}: {name}", spread(lambda some, s=scores: owa(s, base, some), 3), "–", "–", "–"])  # type: ignore[misc]
    return rows


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    rows: list[list[str]] = []
    for kind, period in PERIODS.items():
        source = folder / f"m4_{kind}.npz"
        if not source.is_file():
            raise SystemExit(f"{source} is missing: name the folder that has it")
        rows += rows_of(kind, source, period)
    columns = ("series, forecaster", "OWA (95 %)", "MSIS (95 %)", "coverage of 95 % (95 %)", "s per series")
    print("\n".join(Table("M4", columns, rows).lines()))
    print(f"\n{TRIED}")


if __name__ == "__main__":
    main()
