"""What the series that speak for a cause were, around an incident: enough for a small picture of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from agent.incidents.model import Cause, Incident
from agent.metrics.history import History
from agent.metrics.model import Kind, MetricSpec, SeriesKey

SHOWN = 2  # series of a cause
BEFORE, AFTER = 300.0, 60.0  # seconds around the incident
POINTS = 240
Point = tuple[float, float]


class Evidence:
    """Reads a history, which may take a moment where it is on a disk. From any thread."""

    def __init__(self, history: History, spec_of: Callable[[str], MetricSpec | None]) -> None:
        self._history, self._spec_of = history, spec_of

    def of(self, cause: Cause, incident: Incident) -> list[dict[str, Any]]:
        """The first series that speak for a cause: `series` as people write it, `unit`, and `history` as (Unix seconds,
        value), oldest first, of counters and histograms how much they count a second, as their unit says. Those that
        did not move are left out."""
        starts = [anomaly.since for anomaly in incident.anomalies] or [incident.opened]
        start = min(starts) - BEFORE
        end = time.time() if incident.closed is None else incident.closed + AFTER
        found: list[dict[str, Any]] = []
        for key in dict.fromkeys(cause.series):
            spec = self._spec_of(key[0])
            if spec is None or spec.kind is Kind.info or len(found) == SHOWN:
                continue
            points = self._history.points(key, start, end)
            if spec.kind is not Kind.gauge:
                points = rates(points)
            if len({value for _, value in points}) > 1:
                found.append({"series": _text(key, spec), "unit": _unit(spec), "history": thinned(points, POINTS)})
        return found


def rates(points: Sequence[Point]) -> list[Point]:
    """Increases per second at the end of each pair of points; a reset counts from zero."""
    return [
        (at, (value - last if value >= last else value) / (at - earlier))
        for (earlier, last), (at, value) in pairwise(points)
        if at > earlier
    ]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many points, in which the lowest and the highest of each stretch are kept: no peak gets lost."""
    if len(points) <= most:
        return list(points)
    stretches = most // 2
    kept = []
    for number in range(stretches):
        part = points[len(points) * number // stretches : len(points) * (number + 1) // stretches]
        lowest, highest = min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])
        kept += sorted({lowest, highest})
    return kept


def _unit(spec: MetricSpec) -> str:
    if spec.kind is Kind.gauge:
        return spec.unit
    return "observations a second" if spec.kind is Kind.histogram else f"{spec.unit} a second".strip()


def _text(key: SeriesKey, spec: MetricSpec) -> str:
    labels = ",".join(f'{name}="{value}"' for name, value in zip(spec.labels, key[1], strict=False) if value)
    return f"{key[0]}{{{labels}}}" if labels else key[0]
