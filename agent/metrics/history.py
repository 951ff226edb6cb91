"""What series were: the seam that conditions, causes and forecasts read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from agent.metrics.model import Histogram, SeriesKey


class History(Protocol):
    """Values of series over time. Times are Unix seconds; gaps are simply not there. From any thread."""

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        """The series of a metric that anything is known of."""

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        """(time, value) of a series in [start, end], oldest first, at the finest resolution that is kept for all of it.
        A histogram's value is its count; histograms: see `histogram_points`."""

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        """`points` of many series, each with its key, in any order: far quicker than one question for each."""

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        """(time, histogram) of a histogram's series in [start, end], oldest first, cumulative since it was made."""

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        """The newest (time, value) of each."""
