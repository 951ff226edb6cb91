"""`predis-agent eval forecast`: forecasts for all series of a file, for a scorer to judge."""

from __future__ import annotations

import multiprocessing
import os
import sys
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np

from agent.api import PredisError
from plugins.forecasting import seasons
from plugins.forecasting.arrays import Floats
from plugins.forecasting.few import last_value
from plugins.forecasting.forecaster import LEAST_ROWS, Rows, forecast_rows
from plugins.forecasting.magnitude import exponent_of, times_two_to

_PROCESSES = 2
_FORM = "it takes ids, and train_ID and test_ID of each"
Work = tuple[Floats, int, int]  # of a series: its rows, how many are to be forecast, the period


class _BadSeries(Exception):
    """There can be no forecast of a series; the message says why."""


def evaluate(source: Path, target: Path, period: int) -> None:
    """Forecast the series of an .npz with `ids`, `train_ID` and `test_ID`, of which only the length is used.

    Writes an .npz with mean_ID, lo95_ID and hi95_ID, each (horizon,). period: rows of a season; 1 where none is known.
    A series with less than LEAST_ROWS numbers gets its last value. Raises PredisError for a file that is none, and for
    series without a number or of another form, after the others are written.
    """
    work, bad = _read(source, period)
    if work:
        _write(target, work)
    if bad:
        rest = f"\nThe others ({len(work)}) are in {target}." if work else ""
        raise PredisError("\n".join(f"{source}: {problem}" for problem in bad) + rest)


def _write(target: Path, work: Mapping[str, Work]) -> None:
    results: dict[str, Floats] = {}
    processes = min(_PROCESSES, os.cpu_count() or 1, len(work))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_path, initargs=(list(sys.path),)) as pool:
        for name, rows in zip(work, pool.map(_one, work.values(), chunksize=4), strict=True):
            results[f"mean_{name}"], results[f"lo95_{name}"], results[f"hi95_{name}"] = rows
    with target.open("wb") as file:  # by its name, numpy would add .npz to some
        np.savez_compressed(file, **cast("dict[str, Any]", results))


def _read(source: Path, period: int) -> tuple[dict[str, Work], list[str]]:
    """What `_one` takes of each series, by name, and what is wrong with the others. Raises PredisError."""
    work: dict[str, Work] = {}
    bad = []
    try:
        with np.load(source) as data:
            names = [name.decode() if isinstance(name, bytes) else str(name) for name in np.atleast_1d(data["ids"])]
            for name in names:
                try:
                    work[name] = _series(name, data, period)
                except _BadSeries as problem:
                    bad.append(str(problem))
    except KeyError as error:
        raise PredisError(f"{source}: {error.args[0]}; {_FORM}") from None
    except (ValueError, OSError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise PredisError(f"{source} cannot be read: it takes an .npz with ids, train_ID and test_ID") from None
    if not names:
        raise PredisError(f"{source}: ids names no series")
    return work, bad


def _series(name: str, data: Mapping[str, Any], period: int) -> Work:
    """Raises _BadSeries."""
    try:
        values, horizon = np.asarray(data[f"train_{name}"], float), len(data[f"test_{name}"])
    except KeyError as error:
        raise _BadSeries(f"{error.args[0]}; {_FORM}") from None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        raise _BadSeries(f"train_{name} or test_{name} cannot be read; each takes one row of numbers") from None
    if values.ndim != 1:
        raise _BadSeries(f"train_{name} has the shape {values.shape}; it takes one row of numbers")
    if not np.isfinite(values).any():
        raise _BadSeries(f"train_{name} has no number")
    if not horizon:
        raise _BadSeries(f"test_{name} is empty, so it says no horizon")
    return values, horizon, period


def _without_gaps(values: Floats) -> Floats:
    """Values that are missing or infinite, filled by lines from their neighbours."""
    known = np.isfinite(values)
    if known.all():
        return values
    rows = np.arange(len(values))
    return np.asarray(np.interp(rows, rows[known], values[known]), float)


def _path(path: list[str]) -> None:
    sys.path[:] = path


def _one(work: Work) -> tuple[Floats, Floats, Floats]:
    values, horizon, period = work
    exponent = exponent_of(values)
    values = times_two_to(np.where(np.isfinite(values), values, np.nan), -exponent)
    if np.isfinite(values).sum() < LEAST_ROWS:
        found = last_value(values[np.isfinite(values)], horizon)
    else:
        values = _without_gaps(values)
        known = seasons.declared(period) if period > 1 else seasons.detected(values)
        bands = forecast_rows(Rows(values, known), horizon)
        found = bands.middle, bands.low95, bands.high95
    middle, low, high = (times_two_to(line, exponent) for line in found)
    return middle, low, high
