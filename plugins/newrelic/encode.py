"""Batches as New Relic's JSON. What is the same for a series each time is written once.

A request holds two blocks of metrics. Gauges are of the batch's time; counts and summaries are of the interval that
ends then, and New Relic's timestamp is when it began. Both times stand once, in what the metrics of a block share.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import blake2b
from itertools import accumulate
from typing import Any

from agent.api import Batch, Event, Histogram, Kind, Prepared, Series
from plugins.newrelic.attributes import MOST_OF_EVENT, MOST_OF_METRIC, attribute_value, attributes_of
from plugins.newrelic.summary import summary_of

EVENT_TYPE = "PredisEvent"
SERVICE = "predis-agent"
_OWN = 16  # attributes of events and spans that are not the event's


class Encoder:
    """Writes batches. `common` goes with everything; with `buckets`, histograms also go out bucket by bucket."""

    def __init__(self, common: Mapping[str, str], buckets: bool) -> None:
        self._common = attributes_of(common, MOST_OF_METRIC)
        self._buckets = buckets
        self._heads: Prepared[tuple[str, bool]] = Prepared(self._head)
        self._le: Prepared[dict[tuple[float, ...], list[str]]] = Prepared(lambda series: {})

    @property
    def common(self) -> int:
        """How many attributes go with everything."""
        return len(self._common)

    def metrics(self, batch: Batch) -> bytes:
        """For POST /metric/v1."""
        self._heads.turn()
        self._le.turn()
        heads, gauges, deltas = self._heads.fresh, [], []
        for series, value in zip(batch.series, batch.values, strict=True):
            head, is_gauge = heads.get(series) or self._heads.of(series)
            if isinstance(value, Histogram):
                deltas += self._histogram(series, head, value)
            elif is_gauge:
                gauges.append(f"{head}{float(value)!r}}}")
            else:
                deltas.append(f"{head}{float(value)!r}}}")
        blocks = []
        time, interval = round(batch.time * 1000), max(1, round(batch.interval * 1000))
        if gauges:
            blocks.append(self._block({"timestamp": time}, gauges))
        if deltas:
            blocks.append(self._block({"timestamp": time - interval, "interval.ms": interval}, deltas))
        return f"[{','.join(blocks)}]".encode() if blocks else b""

    def events(self, batch: Batch) -> bytes:
        """For POST /v1/accounts/ID/events."""
        from newrelic_telemetry_sdk import Event as NewRelicEvent

        events = []
        for event in batch.events:
            own = {"kind": event.kind, "title": event.title, "text": event.text, "severity": event.severity}
            attributes = {**self._attributes(event, own), **self._common, **attributes_of(own, len(own))}
            events.append(NewRelicEvent(EVENT_TYPE, attributes, round(event.time * 1000)))
        return _json(events) if events else b""

    def spans(self, batch: Batch) -> bytes:
        """For POST /trace/v1: events with a duration. What has no id gets one that is the same each time."""
        from newrelic_telemetry_sdk import Span

        spans = []
        for event in batch.events:
            own = {"kind": event.kind, "text": event.text, "severity": event.severity, "service.name": SERVICE}
            own |= {"name": event.title or event.kind}
            if event.severity == "error":
                own["error.message"] = event.text or event.title or event.kind
            digest = blake2b(repr((event.time, event.kind, event.title, event.duration)).encode(errors="replace"))
            span = Span(
                attribute_value(own["name"]),
                {**self._attributes(event, own), **attributes_of(own, len(own))},
                guid=event.span_id or digest.hexdigest()[:16],
                trace_id=event.trace_id or digest.hexdigest()[16:48],
                parent_id=event.parent_id or None,
                start_time_ms=round(event.time * 1000),
            )
            span["attributes"]["duration.ms"] = round((event.duration or 0.0) * 1000, 3)  # the SDK's are whole ones
            spans.append(span)
        return _json([{"common": {"attributes": self._common}, "spans": spans}]) if spans else b""

    def _histogram(self, series: Series, head: str, value: Histogram) -> list[str]:
        summary = summary_of(value)
        if summary is None:
            return []
        count, total, least, greatest = summary
        out = [f'{head}{{"count":{count},"sum":{total!r},"min":{least!r},"max":{greatest!r}}}}}']
        if self._buckets:
            by_bounds = self._le.of(series)
            heads = by_bounds.get(value.bounds)
            if heads is None:
                by_bounds.clear()  # a histogram that changed its bounds will not change back
                heads = by_bounds[value.bounds] = self._bucket_heads(series, value.bounds)
            out += [f"{bucket}{below}.0}}" for bucket, below in zip(heads, accumulate(value.counts), strict=True)]
        return out

    def _head(self, series: Series) -> tuple[str, bool]:
        """The beginning of a series' object, up to its value, and whether it is a gauge."""
        kind = series.spec.kind
        name = {Kind.counter: "count", Kind.histogram: "summary"}.get(kind, "gauge")
        return self._start(series.spec.name, name, series.tags()), name == "gauge"

    def _bucket_heads(self, series: Series, bounds: tuple[float, ...]) -> list[str]:
        """As Prometheus has them, which NRQL's bucketPercentile() reads: observations up to `le`."""
        name, tags = f"{series.spec.name}_bucket", series.tags()
        return [self._start(name, "count", {**tags, "le": le}) for le in (*map(repr, bounds), "+Inf")]

    @staticmethod
    def _start(name: str, kind: str, tags: Mapping[str, str]) -> str:
        attributes = _text(attributes_of(tags, MOST_OF_METRIC))
        return f'{{"name":{_text(name)},"type":"{kind}","attributes":{attributes},"value":'

    def _block(self, shared: dict[str, Any], metrics: list[str]) -> str:
        return f'{{"common":{_text({**shared, "attributes": self._common})},"metrics":[{",".join(metrics)}]}}'

    def _attributes(self, event: Event, own: Mapping[str, str]) -> dict[str, str]:
        """The event's own attributes, those that are named like one of ours with `predis.` before them."""
        taken = own.keys() | self._common.keys() | {"duration.ms", "parent.id", "trace.id", "guid"}
        renamed = {(f"predis.{name}" if name in taken else name): value for name, value in event.attributes.items()}
        return attributes_of(renamed, MOST_OF_EVENT - len(self._common) - _OWN)


def encoders(encoder: Encoder) -> dict[str, Callable[[Batch], bytes]]:
    """What writes the bodies of each lane."""
    return {"metrics": encoder.metrics, "events": encoder.events, "traces": encoder.spans}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _json(value: Any) -> bytes:
    return _text(value).encode()
