"""What plugins give and exporters take: specs, samples, histograms, snapshots.

These are plain values. What a good name or a valid sample is, is the catalogue's business (catalogue.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a metric's number means."""

    gauge = "gauge"  # goes up and down
    counter = "counter"  # only grows, until what it counts in starts anew
    histogram = "histogram"  # counts of observations per bucket
    info = "info"  # always 1; its labels are the message


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """The declaration of one metric.

    `name` is the full Prometheus name (`predis_…`, counters with `_total`, unit before that). `unit` is the base unit
    (`seconds`, `bytes`, `ratio`, …; empty for plain counts). `labels` are label names; a sample gives their values in
    the same order. `bounds` documents a histogram's usual bucket bounds; a sample carries its own.
    """

    name: str
    kind: Kind
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """The name of the metric's family in OpenMetrics, which leaves out what only its series have: _total, _info."""
        return self.name.removesuffix("_total").removesuffix("_info")


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One observation of a histogram by which people find out more, such as an entry of a log.

    `labels` are pairs of a name and a value that say where to look; names and values have at most 128 characters
    together, as OpenMetrics wants it, and tell nothing of a person. `value` is what was observed, in the metric's unit,
    `time` when, in Unix seconds.
    """

    labels: tuple[tuple[str, str], ...]
    value: float
    time: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations per bucket.

    `bounds` are ascending finite upper bounds. `counts` has one number per bucket, not cumulative, and one more at
    the end for what lies above the last bound. `sum` is the sum of all observations in the metric's unit.

    For exporters that can show more: `exemplars` are some of the observations, and `fine` is the same histogram in more
    buckets, whose counts add up to these. Neither is kept in the history, nor waits for a vendor that is away.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar, ...] = field(default=(), repr=False)
    fine: Histogram | None = field(default=None, repr=False)

    @property
    def count(self) -> int:
        """How many observations there were."""
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series; `labels` are label values in the order of the spec's label names."""

    name: str
    value: float | Histogram
    labels: tuple[str, ...] = ()

    @property
    def key(self) -> SeriesKey:
        """What tells this series from every other."""
        return (self.name, self.labels)


SeriesKey = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All series at one time. Not to be changed by who receives it: exporters share it.

    `time` is Unix time in seconds. `specs` has the spec of each metric in `samples`, by name.
    """

    time: float
    samples: Mapping[SeriesKey, Sample] = field(default_factory=dict)
    specs: Mapping[str, MetricSpec] = field(default_factory=dict)

    def families(self) -> Iterator[tuple[MetricSpec, list[Sample]]]:
        """Each metric with its samples, by name."""
        by_name: dict[str, list[Sample]] = {}
        for sample in self.samples.values():
            by_name.setdefault(sample.name, []).append(sample)
        for name in sorted(by_name):
            yield self.specs[name], by_name[name]
