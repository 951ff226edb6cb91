"""`predis-agent eval multivariate FILE.npz OUT.csv`: the host model on recorded rows."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.api import PredisError
from plugins.anomaly.multivariate.model import HostModel, Settings

Floats = NDArray[np.float64]

LEAST_NORMALISED = 0.01


def scores(train: Floats, test: Floats, settings: Settings | None = None) -> Floats:
    """The score of each row of `test`, after `train` was learnt; both rows × metrics. A score needs no later row."""
    finite = train[np.isfinite(train)]
    # Metrics that were all brought to 0 to 1 have one scale: a hundredth of it is the least that counts. Where none of
    # them comes to 1, the highest is that 1: what matters is not which part of the range a file fills.
    normalised = len(finite) > 0 and finite.min() >= 0 and 0 < finite.max() <= 1
    unit = float(finite.max()) if normalised else 1.0
    model = HostModel(train.shape[1], settings, least=LEAST_NORMALISED if normalised else 0.0)
    with np.errstate(over="ignore"):  # what overflows is infinite, and as odd
        train, test = train / unit, test / unit
    for row in train:
        model.update(row, top=0)
    model.settle()
    return np.array([model.update(row, top=0).score for row in test])


def evaluate(source: Path, target: Path) -> None:
    """Read the arrays `train` and `test` (rows × metrics) of an npz file, write a CSV with a column `score` per row of
    `test`; labels are not read. Raises ValueError for a file of another form."""
    try:
        with np.load(source) as arrays:
            train, test = (np.asarray(arrays[name], float) for name in ("train", "test"))
    except KeyError as error:
        raise PredisError(f"{source}: {error.args[0]}; it takes train and test, rows × metrics") from None
    except (OSError, EOFError, TypeError, zipfile.BadZipFile, ValueError):
        raise PredisError(f"{source} is no .npz with the arrays train and test, both of numbers") from None
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1]:
        raise PredisError(f"{source}: train {train.shape} and test {test.shape} must be rows × the same metrics")
    lines = ["score", *(f"{score:.9g}" for score in scores(train, test))]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
