"""History as the JSON of /api/v1/history."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from agent.errors import PredisError
from agent.metrics.history import History
from agent.metrics.model import MetricSpec

MOST_SERIES = 500
MOST_POINTS = 200_000  # in one answer: about 6 MB
SPAN = 3600.0  # seconds, where no start is given
_LABEL = "label."


def history_document(history: History, spec: MetricSpec | None, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The answer to a query: `metric`, and, if wished, `start` and `end` (Unix seconds) and `label.NAME`.

    Raises PredisError for a query that cannot be answered, or whose answer would be too large.
    """
    asked = dict(query)
    labels = {name.removeprefix(_LABEL): value for name, value in asked.items() if name.startswith(_LABEL)}
    unknown = {name for name in asked if not name.startswith(_LABEL)} - {"metric", "start", "end"}
    if unknown:
        raise PredisError(f"unknown parameters: {', '.join(sorted(unknown))}; known: metric, start, end, label.NAME")
    metric = asked.get("metric")
    if not metric:
        raise PredisError("which metric? ask for /api/v1/history?metric=NAME, one of /api/v1/metrics")
    if spec is None:
        raise PredisError(f"there is no metric {metric}; `predis-agent metrics list` shows those there are")
    if strange := set(labels) - set(spec.labels):
        has = ", ".join(spec.labels) or "none"
        raise PredisError(f"{metric} has no label {', '.join(sorted(strange))}; its labels: {has}")
    end = _time(asked, "end", time.time())
    start = _time(asked, "start", end - SPAN)
    return {
        "metric": metric,
        "unit": spec.unit,
        "kind": spec.kind.value,
        "series": _series(history, spec, labels, start, end),
    }


def _series(history: History, spec: MetricSpec, wanted: Mapping[str, str], start: float, end: float) -> list[Any]:
    keys = [
        key for key in history.keys(spec.name) if wanted.items() <= dict(zip(spec.labels, key[1], strict=False)).items()
    ]
    if len(keys) > MOST_SERIES:
        raise PredisError(
            f"{spec.name} has {len(keys)} such series; one answer has {MOST_SERIES}: add label.NAME=VALUE"
        )
    found, count = [], 0
    for key in sorted(keys):
        points = history.points(key, start, end)
        count += len(points)
        if count > MOST_POINTS:
            raise PredisError(f"more than {MOST_POINTS:,} points: ask for fewer series or a shorter time")
        if points:
            labels = dict(zip(spec.labels, key[1], strict=False))
            found.append(
                {"labels": labels, "points": [[at, value if math.isfinite(value) else None] for at, value in points]}
            )
    return found


def _time(asked: Mapping[str, str], name: str, default: float) -> float:
    text = asked.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PredisError(f"{name}={text} is not a time: write Unix seconds")
    return value
