"""From a snapshot to prometheus_client's metric families."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

from agent.api import Histogram, MetricSpec, Snapshot
from plugins.prometheus.exemplars import by_bucket


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """One family per metric, by name, with histograms as _bucket, _sum and _count."""
    for spec, samples in snapshot.families():
        family = Metric(spec.family, spec.help, spec.kind.value, spec.unit)
        for sample in samples:
            labels = dict(zip(spec.labels, sample.labels, strict=True))
            if isinstance(sample.value, Histogram):
                _add_histogram(family, spec, sample.value, labels)
            else:
                family.add_sample(sample.name, labels, sample.value)
        yield family


def _add_histogram(family: Metric, spec: MetricSpec, histogram: Histogram, labels: dict[str, str]) -> None:
    total = 0
    exemplars = by_bucket(histogram)
    for number, (le, total) in enumerate(zip(_le_labels(histogram.bounds), accumulate(histogram.counts), strict=True)):
        one = exemplars.get(number)
        exemplar = None if one is None else Exemplar(dict(one.labels), one.value, one.time)
        family.add_sample(f"{spec.name}_bucket", {**labels, "le": le}, total, exemplar=exemplar)
    family.add_sample(f"{spec.name}_count", labels, total)
    family.add_sample(f"{spec.name}_sum", labels, histogram.sum)


@lru_cache(maxsize=64)
def _le_labels(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """The values of the label `le`; the same few bounds come again for every series and scrape."""
    return (*(str(floatToGoString(bound)) for bound in bounds), "+Inf")  # type: ignore[no-untyped-call]
