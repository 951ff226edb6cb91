"""`predis-agent eval forecast`: forecasts for all series of a file, for a scorer to judge."""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from plugins.forecasting import seasons
from plugins.forecasting.arrays import Floats
from plugins.forecasting.forecaster import Rows, forecast_rows

_PROCESSES = 2


def evaluate(source: Path, target: Path, period: int) -> None:
    """Forecast the series of an .npz with `ids`, `train_ID` and `test_ID`, of which only the length is used.

    Writes an .npz with mean_ID, lo95_ID and hi95_ID, each (horizon,). period: rows of a season; 1 where none is known.
    """
    with np.load(source) as data:
        work = [(np.asarray(data[f"train_{name}"], float), len(data[f"test_{name}"]), period) for name in data["ids"]]
        names = [str(name) for name in data["ids"]]
    results: dict[str, Floats] = {}
    processes = min(_PROCESSES, os.cpu_count() or 1, len(work))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_path, initargs=(list(sys.path),)) as pool:
        for name, rows in zip(names, pool.map(_one, work, chunksize=4), strict=True):
            results[f"mean_{name}"], results[f"lo95_{name}"], results[f"hi95_{name}"] = rows
    np.savez_compressed(target, allow_pickle=False, **results)


def _path(path: list[str]) -> None:
    sys.path[:] = path


def _one(work: tuple[Floats, int, int]) -> tuple[Floats, Floats, Floats]:
    values, horizon, period = work
    known = seasons.declared(period) if period > 1 else seasons.detected(values)
    found = forecast_rows(Rows(values, known), horizon)
    return found.middle, found.low95, found.high95
