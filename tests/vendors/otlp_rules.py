"""What OpenTelemetry publishes about resources, data points and spans; `tests.vendors.otlp` names the sources."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from tests.vendors.book import Point
from tests.vendors.wire import clip

NANO = 1e9
TEMPORALITIES = {
    AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA: "delta",
    AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE: "cumulative",
}
MAX_NAME = 255
Tags = tuple[tuple[str, str], ...]


class Broken(Exception):
    """A rule is broken: its code and a sentence."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Sums:
    """The last cumulative values of each series. Not thread-safe.

    A point older than the newest one of its series is compared with nothing: it may be a repetition.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, Tags], tuple[float, float, float]] = {}

    def check(self, metric: Any, point: Point) -> None:
        """Raises Broken where a monotonic value falls or a start goes back; remembers the point otherwise."""
        if "cumulative" not in point.kind or "non-monotonic" in point.kind or point.start is None:
            return
        value = float(point.value["count"] if isinstance(point.value, dict) else point.value)
        identity = (point.name, tuple(sorted(point.tags)))
        last = self._last.get(identity)
        if last is not None and point.time > last[0]:
            if point.start < last[1]:
                raise Broken("start", f"the start of {point.name} went back by {last[1] - point.start:g} s")
            if point.start == last[1] and value < last[2]:
                raise Broken("decreasing", f"{point.name} fell from {last[2]:g} to {value:g} with the same start")
        if last is None or point.time > last[0]:
            self._last[identity] = (point.time, point.start, value)


def attributes_of(attributes: Iterable[Any], what: str) -> Tags:
    """Keys and values as texts; raises Broken where a key is empty or comes twice, or a value is missing."""
    tags = []
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        if not attribute.key:
            raise Broken("attribute", f"{what} has an attribute without a key")
        if kind is None:
            raise Broken("attribute", f"{what}: the attribute {attribute.key} has no value")
        tags.append((attribute.key, str(getattr(attribute.value, kind))))
    keys = [key for key, _ in tags]
    if len(set(keys)) < len(keys):
        raise Broken("attribute", f"{what}: a key comes twice in {clip(keys)}")
    return tuple(tags)


def check_resource(resource: Any) -> Tags:
    """The attributes of a resource, which says at least what service it is."""
    tags = attributes_of(resource.attributes, "the resource")
    if not dict(tags).get("service.name"):
        raise Broken("resource", f"the resource has no service.name, only {clip(sorted(dict(tags)))}")
    return tags


def data_points(metric: Any) -> Sequence[Any]:
    """The data points of a metric of any kind."""
    kind = metric.WhichOneof("data")
    return getattr(metric, kind).data_points if kind else ()


def check_metric(metric: Any, data: Any, common: Tags, now: float) -> Point:
    """One data point; raises Broken."""
    name = metric.name
    if not name or len(name) > MAX_NAME:
        raise Broken("metric_name", f"{clip(name)} is no name of 1 to {MAX_NAME} characters")
    shape = metric.WhichOneof("data")
    aggregated = getattr(metric, shape)
    tags = attributes_of(data.attributes, name)
    if not data.time_unix_nano:
        raise Broken("timestamp", f"{name} has a point without a time")
    if data.time_unix_nano > 1 << 63 or data.time_unix_nano / NANO < 1e9:
        raise Broken("timestamp", f"{name} has the time {data.time_unix_nano}, which is not in nanoseconds")
    kind = shape
    if shape in ("sum", "histogram", "exponential_histogram"):
        temporality = TEMPORALITIES.get(aggregated.aggregation_temporality)
        if temporality is None:
            raise Broken("temporality", f"{name} is a {shape} without a temporality")
        if not data.start_time_unix_nano or data.start_time_unix_nano > data.time_unix_nano:
            raise Broken("start", f"{name} starts at {data.start_time_unix_nano}, not before {data.time_unix_nano}")
        monotonic = "" if shape != "sum" or aggregated.is_monotonic else "non-monotonic "
        kind = f"{temporality} {monotonic}{shape}"
    value = _value(data, shape, name)
    start = data.start_time_unix_nano / NANO if data.start_time_unix_nano else None
    lane = "metric"
    return Point(lane, name, (*common, *tags), data.time_unix_nano / NANO, kind, value, start=start, unit=metric.unit)


def _value(data: Any, shape: str, name: str) -> Any:
    if shape in ("gauge", "sum"):
        kind = data.WhichOneof("value")
        if kind is None:
            raise Broken("value", f"{name} has a point without a value")
        value = getattr(data, kind)
        if not math.isfinite(value):
            raise Broken("value", f"{name} has the value {value}")
        return value
    if shape == "histogram":
        return _histogram(data, name)
    if shape == "exponential_histogram":
        buckets = sum(data.positive.bucket_counts) + sum(data.negative.bucket_counts) + data.zero_count
        if buckets != data.count:
            raise Broken("histogram", f"{name} counts {data.count}, its buckets {buckets}")
        return {"count": data.count, "sum": data.sum, "scale": data.scale}
    raise Broken("type", f"{name} is a {shape}, which is for old formats only")


def _histogram(data: Any, name: str) -> dict[str, Any]:
    bounds, counts = list(data.explicit_bounds), list(data.bucket_counts)
    if (bounds or counts) and len(counts) != len(bounds) + 1:
        raise Broken("histogram", f"{name} has {len(counts)} bucket counts for {len(bounds)} bounds; one more belongs")
    if any(b <= a for a, b in pairwise(bounds)) or not all(map(math.isfinite, bounds)):
        raise Broken("histogram", f"{name} has bounds that do not rise, or are not finite: {clip(bounds)}")
    if counts and sum(counts) != data.count:
        raise Broken("histogram", f"{name} counts {data.count}, its buckets {sum(counts)}")
    if data.HasField("sum") and not math.isfinite(data.sum):
        raise Broken("value", f"{name} has the sum {data.sum}")
    return {"count": data.count, "sum": data.sum, "bounds": bounds, "counts": counts}


def check_span(span: Any, common: Tags) -> Point:
    """One span; raises Broken."""
    if not span.name:
        raise Broken("span", "a span has no name")
    tags = attributes_of(span.attributes, f"the span {span.name}")
    for what, found, size in (("trace", span.trace_id, 16), ("span", span.span_id, 8)):
        if len(found) != size or not any(found):
            raise Broken("span_id", f"the span {span.name} has the {what} id {clip(found.hex())}; {size} bytes belong")
    if span.parent_span_id and len(span.parent_span_id) != 8:
        raise Broken("span_id", f"the span {span.name} has a parent id of {len(span.parent_span_id)} bytes")
    if not span.start_time_unix_nano or span.end_time_unix_nano < span.start_time_unix_nano:
        raise Broken("timestamp", f"the span {span.name} has no start, or ends before it")
    ids = (("trace_id", span.trace_id.hex()), ("span_id", span.span_id.hex()), ("parent_id", span.parent_span_id.hex()))
    duration = (span.end_time_unix_nano - span.start_time_unix_nano) / NANO
    return Point("span", span.name, (*common, *tags, *ids), span.start_time_unix_nano / NANO, "span", duration)


def check_record(record: Any, common: Tags) -> Point:
    """One log record; raises Broken."""
    text = record.body.string_value
    tags = attributes_of(record.attributes, f"the log record {clip(text)}")
    if not record.time_unix_nano and not record.observed_time_unix_nano:
        raise Broken("timestamp", f"the log record {clip(text)} has no time")
    if not 0 <= record.severity_number <= 24:
        raise Broken("severity", f"the log record {clip(text)} has the severity {record.severity_number}")
    for what, found, size in (("trace", record.trace_id, 16), ("span", record.span_id, 8)):
        if found and (len(found) != size or not any(found)):
            raise Broken(
                "log_id", f"the log record {clip(text)} has the {what} id {clip(found.hex())}; {size} bytes belong"
            )
    at = (record.time_unix_nano or record.observed_time_unix_nano) / NANO
    name = record.event_name or dict(tags).get("event.name", "")
    return Point("log", name, (*common, *tags), at, "log", text)
