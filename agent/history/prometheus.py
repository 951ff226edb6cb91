"""History that Prometheus keeps, read over its HTTP API: the series are those that the exporter `prometheus` shows."""

from __future__ import annotations

import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from agent.errors import PredisError
from agent.history.ring import Point
from agent.metrics.model import Histogram, Kind, MetricSpec, SeriesKey

RAW_SPAN = 86_400.0  # seconds up to which every point is asked for; beyond, MOST_POINTS at even steps
MOST_POINTS = 8000  # Prometheus gives 11,000 at most
LOOKBACK = 300.0  # seconds for which an instant query looks back
_TIMEOUT = 5.0


class PrometheusHistory:
    """Reads a Prometheus server. Methods raise PredisError when it does not answer as it should.

    selector: what tells this agent's series from others, such as `instance="cache-1:9121"`. spec_of: declarations by
    name, for the order of labels. oldest: seconds of age from which on nothing is asked for.
    """

    def __init__(
        self,
        url: str,
        selector: str,
        spec_of: Callable[[str], MetricSpec | None],
        oldest: float,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._url, self._selector, self._spec_of = url.rstrip("/"), selector.strip(), spec_of
        self._oldest, self._timeout = oldest, timeout

    def keys(self, metric: str) -> list[SeriesKey]:
        """The series of a metric that Prometheus has."""
        spec = self._spec_of(metric)
        if spec is None:
            return []
        found = self._ask("series", **{"match[]": self._select(_name(spec), {})})
        if not found and spec.kind is Kind.histogram:
            found = self._ask("series", **{"match[]": self._select(metric, {})})  # native ones
        return list(dict.fromkeys((metric, _labels(spec, labels)) for labels in found))

    def points(self, key: SeriesKey, start: float, end: float) -> list[Point]:
        """The points of a series in [start, end], oldest first; over more than a day, at even steps."""
        spec = self._spec_of(key[0])
        if spec is None:
            return []
        rows = self._rows(self._select(_name(spec), self._labels(key, spec)), start, end)
        if not rows and spec.kind is Kind.histogram:
            return [(at, float(value["count"])) for at, value in self._native(key, spec, start, end)]
        return sorted({at: value for _, points in rows for at, value in points}.items())

    def points_of(self, keys: Sequence[SeriesKey], start: float, end: float) -> dict[SeriesKey, list[Point]]:
        """`points` of many series, with one question for each metric."""
        found: dict[SeriesKey, list[Point]] = {}
        for name in dict.fromkeys(key[0] for key in keys):
            wanted = {key for key in keys if key[0] == name}
            spec = self._spec_of(name)
            if spec is None:
                continue
            if len(wanted) == 1:
                (only,) = wanted
                found[only] = self.points(only, start, end)
                continue
            merged: dict[SeriesKey, dict[float, float]] = {}
            for labels, points in self._rows(self._select(_name(spec), {}), start, end):
                merged.setdefault((name, _labels(spec, labels)), {}).update(points)
            found |= {key: sorted(points.items()) for key, points in merged.items() if key in wanted}
        return found

    def histograms(self, key: SeriesKey, start: float, end: float) -> list[tuple[float, Histogram]]:
        """The points of a histogram, where each has all of its buckets: of the classic one, or of the native one where
        Prometheus stores no other, in the buckets that it has."""
        spec = self._spec_of(key[0])
        if spec is None or spec.kind is not Kind.histogram:
            return []
        labels = self._labels(key, spec)
        sums = dict(p for _, points in self._rows(self._select(f"{key[0]}_sum", labels), start, end) for p in points)
        cumulative: dict[float, dict[float, float]] = {}
        for of, points in self._rows(self._select(f"{key[0]}_bucket", labels), start, end):
            for at, value in points:
                cumulative.setdefault(at, {})[float(of["le"])] = value
        found = []
        for at, buckets in sorted(cumulative.items()):
            bounds = sorted(buckets)
            if at in sums and bounds[-1] == math.inf:
                heights = [0.0, *(buckets[bound] for bound in bounds)]
                counts = tuple(int(high - low) for low, high in pairwise(heights))
                found.append((at, Histogram(tuple(bounds[:-1]), counts, sums[at])))
        return found or _of_native(self._native(key, spec, start, end))

    def latest(self, key: SeriesKey) -> Point | None:
        """The newest point of the last minutes."""
        spec = self._spec_of(key[0])
        if spec is None:
            return None
        selected = self._select(_name(spec), self._labels(key, spec))
        found = self._ask("query", query=f"{selected}[{LOOKBACK:.0f}s]")["result"]
        if not found and spec.kind is Kind.histogram:
            now = time.time()
            native = self._native(key, spec, now - LOOKBACK, now)
            return (native[-1][0], float(native[-1][1]["count"])) if native else None
        return max(((float(t), float(v)) for row in found for t, v in row["values"]), default=None)

    def _native(
        self, key: SeriesKey, spec: MetricSpec, start: float, end: float
    ) -> list[tuple[float, Mapping[str, Any]]]:
        """The points of a native histogram as Prometheus' API has them, oldest first."""
        rows = self._answer(self._select(key[0], self._labels(key, spec)), start, end)
        points = {float(t): value for row in rows for t, value in row.get("histograms", ()) if start <= float(t) <= end}
        return sorted(points.items())

    def _rows(self, selected: str, start: float, end: float) -> list[tuple[Mapping[str, str], list[Point]]]:
        return [
            (row["metric"], [(float(t), float(v)) for t, v in row["values"] if start <= float(t) <= end])
            for row in self._answer(selected, start, end)
        ]

    def _answer(self, selected: str, start: float, end: float) -> list[Any]:
        now = time.time()
        start, end = max(start, now - self._oldest), min(end, now)
        if start >= end:
            return []
        span = end - start
        if span <= RAW_SPAN:
            answer = self._ask("query", query=f"{selected}[{math.ceil(span * 1000)}ms]", time=repr(end))
        else:
            step = math.ceil(span / MOST_POINTS)
            answer = self._ask("query_range", query=selected, start=repr(start), end=repr(end), step=str(step))
        found: list[Any] = answer["result"]
        return found

    def _labels(self, key: SeriesKey, spec: MetricSpec) -> dict[str, str]:
        return dict(zip(spec.labels, key[1], strict=False))

    def _select(self, name: str, labels: Mapping[str, str]) -> str:
        wanted = [f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels.items()]
        return f"{name}{{{','.join([*([self._selector] if self._selector else []), *wanted])}}}"

    def _ask(self, path: str, **parameters: str) -> Any:
        url = f"{self._url}/api/v1/{path}"
        try:
            body = urllib.parse.urlencode(parameters).encode()
            with urllib.request.urlopen(url, body, timeout=self._timeout) as answer:
                document = json.load(answer)
            return document["data"]
        except urllib.error.HTTPError as error:
            detail = error.read(500).decode(errors="replace")
            raise PredisError(f"history.url: {url} answers with HTTP status {error.code}: {detail}") from None
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise PredisError(f"history.url: {self._url} cannot be reached: {reason}") from None
        except (ValueError, KeyError, TypeError):
            raise PredisError(f"history.url: {url} does not answer as Prometheus does") from None


def _name(spec: MetricSpec) -> str:
    return f"{spec.name}_count" if spec.kind is Kind.histogram else spec.name


def _of_native(points: list[tuple[float, Mapping[str, Any]]]) -> list[tuple[float, Histogram]]:
    """All with the same bounds: the ends, above 0, of all buckets that there are in any of them."""
    ends = {float(end) for _, value in points for bucket in value.get("buckets", ()) for end in bucket[1:3]}
    bounds = sorted(end for end in ends if 0 < end < math.inf)
    place = {bound: at for at, bound in enumerate(bounds)}
    found = []
    for at, value in points:
        counts = [0] * (len(bounds) + 1)
        for _, _, high, count in value.get("buckets", ()):
            counts[place.get(float(high), len(bounds))] += int(float(count))
        found.append((at, Histogram(tuple(bounds), tuple(counts), float(value["sum"]))))
    return found


def _labels(spec: MetricSpec, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in spec.labels)
