"""Recorded series through the engine that the agent runs, for `predis-agent eval anomaly DATA OUT`."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from agent.api import PredisError
from plugins.anomaly.engine.engine import Engine
from plugins.anomaly.engine.table import Array
from plugins.anomaly.engine.zscore import ZScore

NOTHING = frozenset(("", "na", "n/a", "nan", "nat", "null", "none"))  # how files write a missing value


def read_series(path: Path) -> tuple[Array, Array]:
    """The times (Unix seconds; ISO 8601 too, UTC where the file does not say) and values of a CSV.gz; NaN where a cell
    says that there is none.

    Raises PredisError with the file, and the line where a cell is neither a time nor a number.
    """
    times, values = [], []
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            head = [name.strip() for name in next(rows, ())]
            if not {"timestamp", "value"} <= set(head):
                raise PredisError(f"{path}: needs the columns timestamp and value, has {', '.join(head) or 'none'}")
            at, value = head.index("timestamp"), head.index("value")
            for row in rows:
                if not row:
                    continue
                try:
                    times.append(_time(_cell(row, at)))
                    values.append(float(_cell(row, value)))
                except ValueError as error:
                    raise PredisError(
                        f"{path}, line {rows.line_num}: {error}; write Unix seconds or ISO 8601, and a number"
                    ) from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise PredisError(f"{path} cannot be read as a CSV.gz in UTF-8: {error}") from None
    return np.array(times, float), np.array(values, float)


def _cell(row: Sequence[str], column: int) -> str:
    """A cell, "nan" where it is missing or says so."""
    text = row[column].strip() if column < len(row) else ""
    return "nan" if text.lower() in NOTHING else text


def _time(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


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

    Columns besides timestamp and value, such as labels, are not read. Raises PredisError for files that cannot be read,
    after the others are scored.
    """
    paths = sorted(source.glob("**/*.csv.gz"))
    if not paths:
        raise PredisError(f"{source}: has no *.csv.gz in it or below")
    series: dict[Path, tuple[Array, Array]] = {}
    bad = []
    for path in paths:
        try:
            series[path] = read_series(path)
        except PredisError as problem:
            bad.append(str(problem))
    for path, scores in zip(series, scores_of(list(series.values())), strict=True):
        out = (target / path.relative_to(source)).with_suffix("")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("score\n" + "".join(f"{score!r}\n" for score in scores.tolist()), encoding="utf-8")
    if bad:
        rest = f"\nThe scores of the others ({len(series)}) are in {target}." if series else ""
        raise PredisError("\n".join(bad) + rest)
    return len(paths)
