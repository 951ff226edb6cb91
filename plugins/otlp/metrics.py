"""Batches of points as OTLP's requests.

A message of protobuf for each point costs 2.5 µs. But the parts of a point that change (start, time, value) have fixed
sizes and stand side by side at its beginning. So the rest of it is written once for each series, a point is that and
twenty-seven bytes, and protobuf reads the points of a metric at once: serialized messages may be joined.
Histograms are whole messages that are used again; only they have one, since it takes 1.6 kB. Tests decode all this
with opentelemetry-proto.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Gauge,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from agent.api import Batch, Histogram, Kind, Prepared, Series
from plugins.otlp.names import Form, Name, name_of

_POINT = struct.Struct("<BQBQBd")
"""start_time_unix_nano, time_unix_nano and as_double of a NumberDataPoint, each after its tag."""
_START, _TIME, _VALUE = 0x11, 0x19, 0x21  # tags: fields 2, 3 and 4, of 64 bits


def attributes_of(values: dict[str, str]) -> list[KeyValue]:
    """Attributes with texts as values."""
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


@dataclass(eq=False, slots=True)
class _Family:
    """A metric without points."""

    form: Form
    template: Metric


@dataclass(eq=False, slots=True)
class _Known:
    """What stays the same of a series: its metric, and its point before and after what changes, or a histogram's."""

    family: _Family
    before: bytes = b""
    after: bytes = b""
    histogram: HistogramDataPoint | None = None
    bounds: tuple[float, ...] = ()


class MetricsEncoder:
    """Requests with cumulative points. For one thread."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, semconv: bool) -> None:
        self._resource, self._scope, self._semconv = resource, scope, semconv
        self._families: dict[Name, _Family] = {}
        self._prepared = Prepared(self._prepare)

    def encode(self, batch: Batch) -> bytes:
        """An ExportMetricsServiceRequest."""
        self._prepared.turn()
        fresh, of, pack = self._prepared.fresh, self._prepared.of, _POINT.pack
        now = _nanoseconds(batch.time)
        numbers: defaultdict[_Family, list[bytes]] = defaultdict(list)
        histograms: defaultdict[_Family, list[HistogramDataPoint]] = defaultdict(list)
        for series, value, began in zip(batch.series, batch.values, batch.starts, strict=True):
            known = fresh.get(series) or of(series)
            start = min(int(began * 1e9), now) if began > 0 else 0
            if isinstance(value, Histogram):
                histograms[known.family].append(_filled(known, value, start, now))
            else:
                point = pack(_START, start, _TIME, now, _VALUE, value)
                numbers[known.family].append(known.before + point + known.after)
        request = ExportMetricsServiceRequest()
        of_resource = request.resource_metrics.add(resource=self._resource)
        metrics = of_resource.scope_metrics.add(scope=self._scope).metrics
        for family, points in numbers.items():
            metric = metrics.add()
            metric.CopyFrom(family.template)
            (metric.gauge if family.form is Form.gauge else metric.sum).MergeFromString(b"".join(points))
        for family, whole in histograms.items():
            metric = metrics.add()
            metric.CopyFrom(family.template)
            metric.histogram.data_points.extend(whole)
        return bytes(request.SerializeToString())

    def _prepare(self, series: Series) -> _Known:
        name, labels = name_of(series, self._semconv)
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = _Family(name.form, _template(name))
        attributes = attributes_of(labels)
        if series.spec.kind is Kind.histogram:
            return _Known(family, histogram=HistogramDataPoint(attributes=attributes))
        point = NumberDataPoint(start_time_unix_nano=1, time_unix_nano=1, as_double=1, attributes=attributes)
        after = NumberDataPoint(attributes=attributes).SerializeToString()
        listed = Gauge(data_points=[point]).SerializeToString()  # a Sum's points have the same tag
        before = listed[: len(listed) - len(after) - _POINT.size]
        return _Known(family, before, after)


def _nanoseconds(time: float) -> int:
    return max(0, round(time * 1e9))


def _template(name: Name) -> Metric:
    metric = Metric(name=name.name, description=name.help, unit=name.unit)
    if name.form is Form.histogram:
        metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    elif name.form is not Form.gauge:
        metric.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.is_monotonic = name.form is Form.sum
    return metric


def _filled(known: _Known, value: Histogram, start: int, now: int) -> HistogramDataPoint:
    point = known.histogram
    assert point is not None
    if value.bounds is not known.bounds:
        known.bounds = value.bounds
        point.explicit_bounds[:] = value.bounds
    point.bucket_counts[:] = value.counts
    point.start_time_unix_nano, point.time_unix_nano = start, now
    point.count, point.sum = value.count, value.sum
    return point
