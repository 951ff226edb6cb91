"""From snapshots to points: picks the metrics, gives each series its object, and makes deltas or starts.

A series that is seen for the first time gives a point of a counter only when it is known what it was at before: from
the baseline that an earlier run of the agent left. A counter below its last value has begun anew, and all that it shows
is its increase. A series that vanishes is forgotten.

Series mostly stay the same from one snapshot to the next. What depends on them alone, the layout, is made once, so that
10,000 points cost milliseconds.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from agent.export.baseline import Baseline, Names, by_series
from agent.export.increase import all_finite, as_array, difference, differences, moved, moved_histograms
from agent.export.model import Batch, Series, Temporality
from agent.metrics.model import Histogram, Kind, MetricSpec, SeriesKey, Snapshot

NAN = math.nan
EARLIER_LASTS = 300.0  # seconds after the start in which a series of the run before may appear


@dataclass(slots=True)
class _Columns:
    """The series of some lanes and one shape: numbers (gauges, then counters) or histograms."""

    lanes: tuple[str, ...]
    series: tuple[Series, ...]
    gauges: Sequence[int]  # where they are in a snapshot
    counters: Sequence[int]
    before: list[float | None]  # of counters, at the last snapshot; None when not known
    starts: array[float]


@dataclass(slots=True)
class _Histograms:
    lanes: tuple[str, ...]
    series: tuple[Series, ...]
    places: Sequence[int]
    before: list[Histogram | None]
    starts: array[float]


@dataclass(slots=True)
class _Sorted:
    """Where the series of some lanes are in a snapshot, while a layout is made."""

    gauges: list[int] = field(default_factory=list)
    counters: list[int] = field(default_factory=list)
    histograms: list[int] = field(default_factory=list)


class Tracker:
    """Turns each snapshot into batches, one for each lane and shape. Used by one thread.

    `wanted` says of a metric's name whether it is exported at all, and `lanes` which of a vendor's interfaces take it.
    `earlier` is what the run before left, if anything. `unsupported` is the number of series that no lane takes.
    """

    def __init__(
        self,
        temporality: Temporality,
        lanes: Callable[[MetricSpec], Sequence[str]],
        wanted: Callable[[str], bool] = lambda name: True,
        earlier: Baseline | None = None,
    ) -> None:
        self.unsupported = 0
        self._delta = temporality is Temporality.delta
        self._lanes_of, self._wanted = lanes, wanted
        self._series: dict[SeriesKey, Series] = {}
        self._keys: list[SeriesKey] = []
        self._specs: Mapping[str, MetricSpec] = {}
        self._columns: list[_Columns] = []
        self._histograms: list[_Histograms] = []
        self._names = Names((), ())
        self._earlier: Mapping[SeriesKey, tuple[float | Histogram, float]] = by_series(earlier)
        self._earlier_until: float | None = None
        self._time = earlier.time if earlier is not None else None

    def find(self, spec: MetricSpec, labels: tuple[str, ...]) -> Series | None:
        """The object of a series that is there, if it is declared like this. May be called from another thread."""
        series = self._series.get((spec.name, labels))
        return series if series is not None and series.spec == spec else None

    def take(self, snapshot: Snapshot) -> list[Batch]:
        """The points of a snapshot. In a delta's batch `interval` is the time since the snapshot before, in seconds."""
        keys = list(snapshot.samples)
        if keys != self._keys or snapshot.specs != self._specs:
            self._lay_out(keys, snapshot)
        values: list[Any] = [sample.value for sample in snapshot.samples.values()]
        # A clock that was set back gives no interval; vendors take none of zero.
        interval = max(0.001, snapshot.time - self._time) if self._time is not None else 0.0
        batches: list[Batch] = []
        for columns in self._columns:
            batches += self._numbers(columns, values, snapshot.time, interval)
        for histograms in self._histograms:
            batches += self._distributions(histograms, values, snapshot.time, interval)
        self._time = snapshot.time
        return batches

    def baseline(self) -> Baseline | None:
        """What the counters were at in the last snapshot; None before the first."""
        if self._time is None:
            return None
        counters, starts = array("d"), array("d")
        for columns in self._columns:
            counters.extend(NAN if value is None else value for value in columns.before)
            starts.extend(columns.starts[len(columns.gauges) :])
        for group in self._histograms:
            starts.extend(group.starts)
        histograms = tuple(value for group in self._histograms for value in group.before if value is not None)
        return Baseline(self._time, self._names, counters, histograms, starts)

    def _numbers(self, columns: _Columns, values: list[Any], time: float, interval: float) -> Iterable[Batch]:
        gauges = [values[place] for place in columns.gauges]
        now = [values[place] for place in columns.counters]
        before, fresh = columns.before, None in columns.before
        series, points, starts = columns.series, gauges + now, columns.starts
        increases = differences(now, before)
        if self._delta:
            points = gauges + increases
            if fresh:
                known = [index for index, point in enumerate(points) if point is not None]
                series, points = tuple(series[index] for index in known), [points[index] for index in known]
        else:
            starts = columns.starts = moved(starts, len(gauges), now, before, self._time or time)
        columns.before = (
            [*now]
            if all_finite(now)
            else [new if math.isfinite(new) else old for new, old in zip(now, before, strict=True)]
        )
        return self._for_lanes(columns.lanes, time, interval, series, as_array(points), starts)

    def _distributions(self, group: _Histograms, values: list[Any], time: float, interval: float) -> Iterable[Batch]:
        now: list[Histogram] = [values[place] for place in group.places]
        series, points, starts = group.series, now, group.starts
        if self._delta:
            increases = [difference(new, old) for new, old in zip(now, group.before, strict=True)]
            known = [index for index, point in enumerate(increases) if point is not None]
            points = [point for point in increases if point is not None]
            if len(points) < len(now):
                series = tuple(series[index] for index in known)
        else:
            starts = group.starts = moved_histograms(starts, now, group.before, self._time or time)
        group.before = list(now)
        return self._for_lanes(group.lanes, time, interval, series, points, starts)

    def _for_lanes(
        self,
        lanes: tuple[str, ...],
        time: float,
        interval: float,
        series: tuple[Series, ...],
        values: Sequence[float | Histogram],
        starts: array[float],
    ) -> Iterable[Batch]:
        if not series:
            return ()
        since = () if self._delta else starts
        return [Batch(lane, time, interval if self._delta else 0.0, series, values, since) for lane in lanes]

    # --- the layout

    def _lay_out(self, keys: list[SeriesKey], snapshot: Snapshot) -> None:
        """Where which series is, from now on."""
        known = {**self._earlier, **self._known()}  # what this run has seen counts more
        lanes_of = {name: self._lanes(spec) for name, spec in snapshot.specs.items()}
        by_lanes: dict[tuple[str, ...], _Sorted] = {}
        series: dict[SeriesKey, Series] = {}
        self.unsupported = 0
        for place, key in enumerate(keys):
            lanes = lanes_of[key[0]]
            if lanes is None:
                continue
            if not lanes:
                self.unsupported += 1
                continue
            spec = snapshot.specs[key[0]]
            held = self._series.get(key)
            if held is None or held.spec != spec:
                held = Series(spec, key[1])
                if key in self._series:
                    known.pop(key, None)  # declared in another way, it is another series
            series[key] = held
            group = by_lanes.setdefault(lanes, _Sorted())
            if spec.kind is Kind.histogram:
                group.histograms.append(place)
            else:
                (group.counters if spec.kind is Kind.counter else group.gauges).append(place)
        self._series, self._keys, self._specs = series, keys, snapshot.specs
        if self._earlier:
            if self._earlier_until is None:
                self._earlier_until = snapshot.time + EARLIER_LASTS
            late = snapshot.time > self._earlier_until
            self._earlier = {} if late else {key: was for key, was in self._earlier.items() if key not in series}
        self._build(by_lanes, known, snapshot.time)

    def _build(
        self,
        by_lanes: Mapping[tuple[str, ...], _Sorted],
        known: Mapping[SeriesKey, tuple[float | Histogram, float]],
        time: float,
    ) -> None:
        keys, series = self._keys, self._series
        self._columns, self._histograms = [], []
        new: tuple[Any, float] = (None, time)

        def before(places: Sequence[int], shape: type) -> tuple[list[Any], list[float]]:
            pairs = [known.get(keys[place], new) for place in places]
            pairs = [pair if isinstance(pair[0], shape) else new for pair in pairs]
            return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

        for lanes, group in by_lanes.items():
            if group.gauges or group.counters:
                objects = tuple(series[keys[place]] for place in (*group.gauges, *group.counters))
                values, since = before(group.counters, (int, float))  # type: ignore[arg-type]
                values = [None if value is None or math.isnan(value) else value for value in values]
                starts = array("d", [time] * len(group.gauges) + since)
                self._columns.append(_Columns(lanes, objects, group.gauges, group.counters, values, starts))
            if group.histograms:
                objects = tuple(series[keys[place]] for place in group.histograms)
                values, since = before(group.histograms, Histogram)
                self._histograms.append(_Histograms(lanes, objects, group.histograms, values, array("d", since)))
        self._names = Names(
            tuple(keys[place] for columns in self._columns for place in columns.counters),
            tuple(keys[place] for group in self._histograms for place in group.places),
        )

    def _lanes(self, spec: MetricSpec) -> tuple[str, ...] | None:
        """None for a metric that is not wanted."""
        return tuple(self._lanes_of(spec)) if self._wanted(spec.name) else None

    def _known(self) -> dict[SeriesKey, tuple[float | Histogram, float]]:
        known: dict[SeriesKey, tuple[float | Histogram, float]] = {}
        for columns in self._columns:
            for place, value, start in zip(
                columns.counters, columns.before, columns.starts[len(columns.gauges) :], strict=True
            ):
                if value is not None:
                    known[self._keys[place]] = (value, start)
        for group in self._histograms:
            for place, histogram, start in zip(group.places, group.before, group.starts, strict=True):
                if histogram is not None:
                    known[self._keys[place]] = (histogram, start)
        return known


def chosen(patterns: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Whether a metric's name is one of those that shell patterns name, and none of those that others exclude."""
    return lambda name: (
        any(fnmatchcase(name, pattern) for pattern in patterns)
        and not any(fnmatchcase(name, pattern) for pattern in exclude)
    )
