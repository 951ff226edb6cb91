"""Recorded series through the engine that the agent runs, for `predis-agent eval anomaly DATA OUT`."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from plugins.anomaly.engine.engine import Engine
from plugins.anomaly.engine.table import Array
from plugins.anomaly.engine.zscore import ZScore


def read_series(path: Path) -> tuple[Array, Array]:
    """The times (Unix seconds, UTC where the file does not say) and values (NaN where missing) of a CSV.gz.

    Raises ValueError with the line where a cell is neither a time nor a number.
    """
    times, values = [], []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"timestamp", "value"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: needs the columns timestamp and value, has {rows.fieldnames}")
        for row in rows:
            try:
                time = datetime.fromisoformat(row["timestamp"])
                values.append(float(row["value"] or "nan"))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {rows.line_num}: {error}") from None
            times.append((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())
    return np.array(times, float), np.array(values, float)


def scores_of(series: Sequence[tuple[Array, Array]], detector: Engine | ZScore | None = None) -> list[Array]:
    """The scores of each series' rows. All series go through one engine side by side, row by row."""
    engine = detector or Engine()
    slots = engine.table.take(len(series))
    lengths = np.array([len(times) for times, _ in series], int)
    longest = int(lengths.max(initial=0))
    time, value = np.full((longest, len(series)), np.nan), np.full((longest, len(series)), np.nan)
    for column, (times, values) in enumerate(series):
        time[: len(times), column], value[: len(values), column] = times, values
    scores = np.zeros((longest, len(series)))
    for row in range(longest):
        here = np.flatnonzero(lengths > row)
        scores[row, here] = engine.step(slots[here], time[row, here], value[row, here]).score
    return [scores[:length, column] for column, length in enumerate(lengths)]


def evaluate(source: Path, target: Path) -> int:
    """Scores every **/*.csv.gz below `source` into the same relative name, without .gz, below `target`; how many.

    Columns besides timestamp and value, such as labels, are not read. Raises ValueError for what cannot be read.
    """
    paths = sorted(source.glob("**/*.csv.gz"))
    if not paths:
        raise ValueError(f"{source}: has no *.csv.gz in it or below")
    for path, scores in zip(paths, scores_of([read_series(path) for path in paths]), strict=True):
        out = (target / path.relative_to(source)).with_suffix("")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("score\n" + "".join(f"{score!r}\n" for score in scores.tolist()), encoding="utf-8")
    return len(paths)
