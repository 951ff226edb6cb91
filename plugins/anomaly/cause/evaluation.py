"""`predis-agent eval cause CASES.json OUT.json --data DIR`: rankings for recorded incidents of micro-services."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from agent.api import PredisError
from plugins.anomaly.cause.model import Meaning, Observed
from plugins.anomaly.cause.rank import rank

MEANINGS = {
    ("latency", "Average"): Meaning.latency,
    ("latency", "p50"): Meaning.tail,
    ("latency", "p90"): Meaning.tail,
    ("latency", "p95"): Meaning.tail,
    ("latency", "p99"): Meaning.tail,
    ("requests", "Sum"): Meaning.requests,
    ("availability", "Average"): Meaning.availability,
}
LEAST_ROWS = 2
Table = dict[tuple[str, str, str], list[tuple[float, float]]]


def evaluate(cases: Path, target: Path, data: Path) -> None:
    """Rank the services of each case; writes JSON, incident -> names, most probable first.

    cases: JSON, incident -> `target` (node, metric, timestamp in Unix seconds of the alarm) and, as paths below `data`,
    `metrics` and `normal` (CSV: three header rows service, metric, statistic; Unix time first) and `graph` (CSV matrix,
    1 where the row's service calls the column's). Other keys are not read. Raises PredisError for another file, and for
    incidents that cannot be read, after the others are written.
    """
    tables: dict[str, Table] = {}
    result, bad = {}, []
    for incident, case in _read(cases).items():
        try:
            result[incident] = _ranking(case, data, tables)
        except PredisError as problem:
            bad.append(f"{cases}, {incident}: {problem}")
    if result or not bad:
        target.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if bad:
        rest = f"\nThe others ({len(result)}) are in {target}." if result else ""
        raise PredisError("\n".join(bad) + rest)


def _read(cases: Path) -> dict[str, Any]:
    try:
        wanted = json.loads(cases.read_text(encoding="utf-8"))
    except OSError as error:
        raise PredisError(f"{cases} cannot be read: {error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PredisError(f"{cases} is no JSON: {error}") from None
    if not isinstance(wanted, dict):
        raise PredisError(f"{cases} must be an object with an entry per incident, and is a {type(wanted).__name__}")
    return wanted


def _ranking(case: Any, data: Path, tables: dict[str, Table]) -> list[str]:
    """The ranking of a case; `tables` keeps what several have in common. Raises PredisError."""
    try:
        normal = case["normal"]
        if normal not in tables:
            tables[normal] = read_table(data / normal)
        during, edges = read_table(data / case["metrics"]), read_graph(data / case["graph"])
        return names(case["target"], tables[normal], during, edges)
    except OSError as error:
        raise PredisError(f"{error.filename} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise PredisError(f"needs target (node, metric, timestamp), metrics, normal and graph: {error!r}") from None


def names(alarm: Mapping[str, Any], normal: Table, during: Table, edges: list[tuple[str, str]]) -> list[str]:
    """The ranking of one incident."""
    at, metric = _seconds(alarm["timestamp"]), str(alarm["metric"])
    meaning = {"latency": Meaning.latency, "availability": Meaning.availability}.get(metric, Meaning.state)
    series = list(observed(normal, during, at))
    if not any(one.during for one in series):
        return []  # nothing was recorded of the incident
    return [cause.component for cause in rank(series, edges, alarm["node"], alarm=at, meaning=meaning)]


def observed(normal: Table, during: Table, alarm: float) -> Iterator[Observed]:
    """The series of an incident; rows that ended before the alarm belong to what was before."""
    step = _step(during)
    for (service, metric, statistic), points in during.items():
        before = list(normal.get((service, metric, statistic), ()))
        # An alarm that comes late must leave something of the incident.
        early = [point for point in points[:-LEAST_ROWS] if point[0] + step <= alarm]
        meaning = MEANINGS.get((metric, statistic), Meaning.state)
        unit = {"latency": "s", "availability": "%"}.get(metric, "")
        yield Observed((metric, (service, statistic)), service, meaning, before + early, points[len(early) :], unit)


def read_table(path: Path) -> Table:
    """The series of a CSV with three header rows, as (Unix seconds, value); missing values are NaN."""
    rows = _rows(path)
    if len(rows) < 3 or not len(rows[0]) == len(rows[1]) == len(rows[2]):
        raise PredisError(f"{path}: needs three header rows of one length: service, metric, statistic")
    body = [row for row in rows[3:] if len(row) == len(rows[0]) and _number(row[0]) == _number(row[0])]
    times = [_number(row[0]) for row in body]
    heads = list(zip(*rows[:3], strict=True))[1:]
    return {
        (service, metric, statistic): [(time, _number(row[k])) for time, row in zip(times, body, strict=True)]
        for k, (service, metric, statistic) in enumerate(heads, 1)
    }


def read_graph(path: Path) -> list[tuple[str, str]]:
    """The edges caller -> callee of a CSV matrix."""
    rows = _rows(path)
    if any(len(row) != len(rows[0]) for row in rows):
        raise PredisError(f"{path}: is no matrix, its rows have different lengths")
    return [
        (row[0], callee)
        for row in rows[1:]
        for callee, value in zip(rows[0][1:], row[1:], strict=True)
        if _number(value) > 0
    ]


def _rows(path: Path) -> list[list[str]]:
    """The rows of a CSV, without empty ones."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise PredisError(f"{path} is no CSV in UTF-8: {error}") from None


def _step(table: Table) -> float:
    times = [time for time, _ in next(iter(table.values()), [])]
    return min((b - a for a, b in pairwise(times)), default=0.0)


def _seconds(given: object) -> float:
    """Unix seconds of a time given so or in ISO 8601, UTC where it does not say. Raises PredisError."""
    try:
        return float(str(given))
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(str(given))
    except ValueError:
        raise PredisError(f"the alarm's timestamp {given!r} is no time; write Unix seconds or ISO 8601") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
