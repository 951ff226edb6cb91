"""Series that were recorded or made up, as the engine sees running ones: for rehearsals of rules."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Histogram, MetricSpec, Sample, SeriesKey, Snapshot

Value = float | Histogram
STALE = 5  # intervals after which a series that gives no values is gone, as in the pipeline


class Recorded:
    """A History of values that are all there from the start; what lies after a moment is not shown before it."""

    def __init__(self, series: Mapping[SeriesKey, Sequence[tuple[float, Value]]]) -> None:
        self._series = {key: sorted(points, key=lambda point: point[0]) for key, points in series.items()}
        self._times = {key: [time for time, _ in points] for key, points in self._series.items()}
        self._metrics: dict[str, list[SeriesKey]] = {}
        for key in self._series:
            self._metrics.setdefault(key[0], []).append(key)
        self.until = float("inf")  # now

    @property
    def span(self) -> tuple[float, float] | None:
        """The first and the last time; None when there is nothing."""
        times = [time for found in self._times.values() for time in (found[:1] + found[-1:])]
        return (min(times), max(times)) if times else None

    @property
    def count(self) -> int:
        """How many series there are."""
        return len(self._series)

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        return [key for key in self._metrics.get(metric, ()) if self._times[key] and self._times[key][0] <= self.until]

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        return [(time, number(value)) for time, value in self._between(key, start, end)]

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        return ((key, self.points(key, start, end)) for key in keys)

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        found = self._between(key, start, end)
        return [(time, value) for time, value in found if isinstance(value, Histogram)]

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        found: dict[SeriesKey, tuple[float, float]] = {}
        for key in keys:
            place = bisect_right(self._times.get(key, []), self.until)
            if place:
                time, value = self._series[key][place - 1]
                found[key] = (time, number(value))
        return found

    def snapshot(self, time: float, interval: float, catalogue: Catalogue) -> Snapshot:
        """What the pipeline would have at a moment."""
        samples: dict[SeriesKey, Sample] = {}
        specs: dict[str, MetricSpec] = {}
        for key, times in self._times.items():
            spec = catalogue.get(key[0])
            place = bisect_right(times, time)
            if spec is not None and place and times[place - 1] > time - STALE * interval:
                samples[key] = Sample(key[0], self._series[key][place - 1][1], key[1])
                specs[key[0]] = spec
        return Snapshot(time, samples, specs)

    def _between(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Value]]:
        times = self._times.get(key, [])
        return self._series.get(key, [])[bisect_left(times, start) : bisect_right(times, min(end, self.until))]


def number(value: Value) -> float:
    """A value as a number: a histogram's is its count."""
    return float(value.count) if isinstance(value, Histogram) else float(value)
