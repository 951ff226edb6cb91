"""`predis-agent eval forecast`: forecasts for all series of a file, for a scorer to judge."""

from __future__ import annotations

import multiprocessing
import os
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from agent.api import PredisError
from plugins.forecasting import seasons
from plugins.forecasting.arrays import Floats
from plugins.forecasting.forecaster import LEAST_ROWS, Rows, forecast_rows

_PROCESSES = 2


def evaluate(source: Path, target: Path, period: int) -> None:
    """Forecast the series of an .npz with `ids`, `train_ID` and `test_ID`, of which only the length is used.

    Writes an .npz with mean_ID, lo95_ID and hi95_ID, each (horizon,). period: rows of a season; 1 where none is known.
    Raises PredisError for a file that is none.
    """
    names, work = _read(source, period)
    results: dict[str, Floats] = {}
    processes = min(_PROCESSES, os.cpu_count() or 1, len(work))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_path, initargs=(list(sys.path),)) as pool:
        for name, rows in zip(names, pool.map(_one, work, chunksize=4), strict=True):
            results[f"mean_{name}"], results[f"lo95_{name}"], results[f"hi95_{name}"] = rows
    with target.open("wb") as file:  # by its name, numpy would add .npz to some
        np.savez_compressed(file, **cast("dict[str, Any]", results))


def _read(source: Path, period: int) -> tuple[list[str], list[tuple[Floats, int, int]]]:
    """The series' names, and what `_one` takes of each. Raises PredisError."""
    try:
        with np.load(source) as data:
            names = [str(name) for name in data["ids"]]
            work = [(np.asarray(data[f"train_{n}"], float), len(data[f"test_{n}"]), period) for n in names]
    except KeyError as error:
        raise PredisError(f"{source}: {error.args[0]}; it takes ids, and train_ID and test_ID of each") from None
    except (ValueError, OSError, TypeError, EOFError, zipfile.BadZipFile):
        raise PredisError(f"{source} cannot be read: it takes an .npz with ids, train_ID and test_ID") from None
    if not names:
        raise PredisError(f"{source}: ids names no series")
    for name, (values, horizon, _) in zip(names, work, strict=True):
        if values.ndim != 1:
            raise PredisError(f"{source}: train_{name} has the shape {values.shape}; it takes one row of numbers")
        if np.isfinite(values).sum() < LEAST_ROWS:
            raise PredisError(f"{source}: train_{name} has less than {LEAST_ROWS} numbers, too few for a forecast")
        if not horizon:
            raise PredisError(f"{source}: test_{name} is empty, so it says no horizon")
    return names, [(_without_gaps(values), horizon, period) for values, horizon, period in work]


def _without_gaps(values: Floats) -> Floats:
    """Values that are missing or infinite, filled by lines from their neighbours."""
    known = np.isfinite(values)
    if known.all():
        return values
    rows = np.arange(len(values))
    return np.asarray(np.interp(rows, rows[known], values[known]), float)


def _path(path: list[str]) -> None:
    sys.path[:] = path


def _one(work: tuple[Floats, int, int]) -> tuple[Floats, Floats, Floats]:
    values, horizon, period = work
    known = seasons.declared(period) if period > 1 else seasons.detected(values)
    found = forecast_rows(Rows(values, known), horizon)
    return found.middle, found.low95, found.high95
