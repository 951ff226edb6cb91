"""Which exemplar of a histogram stands at which of its buckets."""

from __future__ import annotations

from bisect import bisect_left

from agent.api import Exemplar, Histogram


def by_bucket(histogram: Histogram) -> dict[int, Exemplar]:
    """The newest exemplar of each bucket that has one, by the bucket's index; of equally old ones the last."""
    ordered = sorted(histogram.exemplars, key=lambda exemplar: exemplar.time)
    return {bisect_left(histogram.bounds, exemplar.value): exemplar for exemplar in ordered}
