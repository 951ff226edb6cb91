"""The host model on the Server Machine Dataset, beside simple detectors: area under precision and recall, row by row.

    python -m bench.evaluation.multivariate DIR

DIR has one npz per machine with `train`, `test` and `label`. Every detector is fitted on `train` alone and judges each
row of `test` by the rows up to it; labels serve the score only. Prints the average precision per machine, its mean, and
an interval of 95 % from 10,000 bootstrap samples of machines: what other machines of this kind may give.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plugins.anomaly.multivariate.evaluation import scores

Floats = NDArray[np.float64]
Detector = Callable[[Floats, Floats], Floats]
CONFIGURATIONS_TRIED = 600  # combinations of statistic, factors, smoothing and floors, all on the eight machines


def average_precision(score: Floats, label: NDArray[np.bool_]) -> float:
    """The area under the precision-recall curve, without interpolation; rows of equal score enter together."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])
    hits = np.cumsum(label[order])[last]
    precision, recall = hits / (last + 1), hits / label.sum()
    return float((precision * np.diff(recall, prepend=0)).sum())


def standardised(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Both by mean and standard deviation (+ 0.01) of train."""
    mean, scale = train.mean(axis=0), train.std(axis=0) + 0.01
    return np.asarray((train - mean) / scale), np.asarray((test - mean) / scale)


def largest_z(train: Floats, test: Floats) -> Floats:
    """The largest standardised deviation of any metric."""
    return np.asarray(np.abs(standardised(train, test)[1]).max(axis=1))


def mean_z(train: Floats, test: Floats) -> Floats:
    """The mean standardised deviation."""
    return np.asarray(np.abs(standardised(train, test)[1]).mean(axis=1))


def smoothed_components(train: Floats, test: Floats) -> Floats:
    """What five principal components leave over (root of the sum of squares), smoothed with a half-life of 20 rows."""
    known, new = standardised(train, test)
    vectors = np.linalg.eigh(np.cov(known.T))[1][:, -5:]
    rest = np.sqrt(((new - new @ vectors @ vectors.T) ** 2).sum(axis=1))
    pace, level, smooth = 1 - 0.5 ** (1 / 20), float(rest[0]), np.empty_like(rest)
    for row, value in enumerate(rest):
        level += pace * (value - level)
        smooth[row] = level
    return np.asarray(smooth, float)


def anything(train: Floats, test: Floats) -> Floats:
    """Random numbers."""
    return np.asarray(np.random.default_rng(len(train)).random(len(test)))


DETECTORS: dict[str, Detector] = {
    "host model": scores,
    "PCA, smoothed": smoothed_components,
    "max |z|": largest_z,
    "mean |z|": mean_z,
    "random": anything,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    files = sorted(folder.glob("*.npz"))
    if not files:
        parser.error(f"{folder} has no npz file")
    found: dict[str, list[float]] = {name: [] for name in DETECTORS}
    for file in files:
        with np.load(file) as arrays:
            train, test, label = (np.asarray(arrays[name], float) for name in ("train", "test", "label"))
        for name, detector in DETECTORS.items():
            found[name].append(average_precision(detector(train, test), label.ravel() != 0))
    chance = np.random.default_rng(0)
    samples = chance.integers(0, len(files), (10_000, len(files)))
    print(f"{'':16}{'mean':>7}{'95 %':>14}  " + " ".join(f"{file.stem.removeprefix('machine-'):>6}" for file in files))
    ours = np.array(found["host model"])
    for name, values in found.items():
        low, high = np.quantile(np.array(values)[samples].mean(axis=1), (0.025, 0.975))
        each = " ".join(f"{value:6.3f}" for value in values)
        print(f"{name:16}{np.mean(values):7.3f}{f'{low:.2f} to {high:.2f}':>14}  {each}")
        if name != "host model":
            low, high = np.quantile((ours - np.array(values))[samples].mean(axis=1), (0.025, 0.975))
            print(f"{'':16}{'':7}  the host model is better by {low:.3f} to {high:.3f}")
    print(f"{CONFIGURATIONS_TRIED} configurations were tried on these machines before.")


if __name__ == "__main__":
    main()
