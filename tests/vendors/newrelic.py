"""A strict fake of New Relic's ingest: `python -m tests.vendors.newrelic --port 8127`.

Rules, as published:
- POST /metric/v1: Content-Type application/json, Api-Key, gzip or identity; an array of maps with `metrics` and perhaps
  `common`; types gauge, count, summary; count and summary have `interval.ms`, a positive long; 202 {"requestId"} says
  only that it is queued: https://docs.newrelic.com/docs/data-apis/ingest-apis/metric-api/report-metrics-metric-api/
- 10^6 bytes per POST, 150 attributes, names below 255 characters, values of 4,096, 48 hours back and 24 ahead, names of
  letters, digits, `:._`, restricted names, no NaN:
  https://docs.newrelic.com/docs/data-apis/ingest-apis/metric-api/metric-api-limits-restricted-attributes/
- POST /v1/accounts/ID/events (the SDK: /v1/accounts/events): flat events of texts and numbers, 254 attributes, one day
  to either side: https://docs.newrelic.com/docs/data-apis/ingest-apis/event-api/introduction-event-api/ and
  https://docs.newrelic.com/docs/data-apis/custom-data/custom-events/data-requirements-limits-custom-event-data/
- POST /trace/v1: spans with id and trace.id, 200 attributes, values of 4,000 characters, not older than 20 minutes
  unless of a trace that came within 20 minutes:
  https://docs.newrelic.com/docs/distributed-tracing/trace-api/trace-api-general-requirements-limits/
- POST /graphql: see `tests.vendors.nerdgraph`.

What is wrong with the content is told later, by an NrIntegrationError: the answer is 202, and the points that are
wrong are not taken. Here it is a violation. A key in the query, which New Relic takes, is refused: URLs get logged.
"""

import argparse
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any

from tests.vendors.book import Point, Violation
from tests.vendors.control import run
from tests.vendors.nerdgraph import NerdGraph
from tests.vendors.wire import (
    Refusal,
    Reply,
    Request,
    as_json,
    clip,
    content_type,
    is_integer,
    is_number,
    strict_json,
    unpacked,
)

WIRE, RAW = 1_000_000, 64 << 20
OLDEST, NEWEST = 48 * 3600.0, 24 * 3600.0
DAY, SPAN_AGE = 86400.0, 1200.0
MAX_ATTRIBUTES, MAX_EVENT_ATTRIBUTES, MAX_SPAN_ATTRIBUTES = 150, 254, 200
LONG = 1 << 63
ATTRIBUTE = re.compile(r"[A-Za-z0-9:._]{1,254}")
EVENT_TYPE = re.compile(r"[A-Za-z0-9:_]{1,255}")
RESERVED_TYPE = re.compile(r"(Public_.*|Metric[0-9]*|MetricRaw|NrIntegrationError)")
KEYS_OF_JSON = frozenset(
    {"interval.ms", "timestamp", "value", "common", "min", "max", "count", "sum", "metrics"},
)
OVERWRITTEN = frozenset({"newrelic.source", "metricName", "endTimestamp"})
LICENSE_KEY = re.compile(r"[0-9A-Za-z]{36,40}(NRAL)?")
MAX_TOLD = 20


class _Wrong(Exception):
    """One point is not valid: the code and the text of its NrIntegrationError."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class NewRelic:
    """The four interfaces, by path."""

    def __init__(self, api_key: str = "") -> None:
        self._api_key = api_key
        self._graph = NerdGraph()
        self._lock = threading.Lock()
        self._traces: dict[str, float] = {}

    @property
    def assets(self) -> dict[str, Any]:
        """Dashboards, policies and conditions."""
        return self._graph.listing()

    def answer(self, request: Request) -> Reply:
        if request.path == "/graphql":
            with self._lock:
                return self._graph.answer(request)
        reads: Callable[[Any, Request, list[Violation]], list[Point]]
        if request.path == "/metric/v1":
            reads = self._metrics
        elif re.fullmatch(r"/v1/accounts/(\d+/)?events", request.path):
            reads = self._events
        elif request.path == "/trace/v1":
            reads = self._spans
        else:
            raise Refusal(404, "path", f"there is no {request.path}")
        self._check(request)
        encodings = {"gzip", "deflate"} if reads == self._events else {"gzip"}
        value = strict_json(unpacked(request, encodings, wire=WIRE, raw=RAW, bad_encoding=415))
        found: list[Violation] = []
        points = reads(value, request, found)
        places = set()
        for point in points:
            place = (point.lane, point.name, tuple(sorted(point.tags)), point.time)
            if place in places:
                found.append(Violation("duplicate", f"{point.name} has two points of one time and the same attributes"))
            places.add(place)
        if reads == self._events:
            return as_json(
                {"success": True, "uuid": str(uuid.uuid4())}, 200, points=points, violations=found[:MAX_TOLD]
            )
        return as_json({"requestId": str(uuid.uuid4())}, 202, points=points, violations=found[:MAX_TOLD])

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        return as_json({"requestId": str(uuid.uuid4()), "error": {"message": text}}, status)

    def partial(self, reply: Reply, rejected: int) -> Reply:
        """An NrIntegrationError that nobody could foresee: still 202, but the last points are dropped later."""
        reply.points = reply.points[: max(0, len(reply.points) - rejected)]
        return reply

    def close(self) -> None:
        """It started nothing."""

    def _check(self, request: Request) -> None:
        if request.method != "POST":
            raise Refusal(405, "method", f"{request.method} {request.path}")
        if any(name.lower() in ("api-key", "api_key", "x-insert-key") for name in request.query):
            raise Refusal(403, "key_in_url", "a key is in the URL, where logs keep it")
        key = request.headers.get("Api-Key")
        if key is None:
            raise Refusal(403, "api_key", "the header Api-Key is missing")
        if key != self._api_key if self._api_key else not LICENSE_KEY.fullmatch(key):
            raise Refusal(403, "api_key", "the key in Api-Key is not valid")
        if content_type(request) != "application/json":
            raise Refusal(415, "content_type", f"Content-Type {content_type(request)!r} is not application/json")
        form = request.headers.get("Data-Format"), request.headers.get("Data-Format-Version")
        if request.path == "/trace/v1" and form not in ((None, None), ("newrelic", "1")):
            raise Refusal(400, "data_format", f"Data-Format and -Version are {form}; newrelic and 1 belong together")

    def _metrics(self, value: Any, request: Request, found: list[Violation]) -> list[Point]:
        points = []
        for block in _blocks(value, "metrics"):
            try:
                common = _common(block, {"timestamp", "interval.ms", "attributes"})
            except _Wrong as wrong:
                found.append(Violation(wrong.code, f"the whole block is dropped: {wrong}"))
                continue
            for metric in block["metrics"]:
                try:
                    points.append(_metric(metric, common, request.now, found))
                except _Wrong as wrong:
                    found.append(Violation(wrong.code, str(wrong)))
        return points

    def _events(self, value: Any, request: Request, found: list[Violation]) -> list[Point]:
        points = []
        events = value if isinstance(value, list) else [value]
        if not events:
            found.append(Violation("schema", "the body has no event"))
        for event in events:
            try:
                points.append(_event(event, request.now))
            except _Wrong as wrong:
                found.append(Violation(wrong.code, str(wrong)))
        return points

    def _spans(self, value: Any, request: Request, found: list[Violation]) -> list[Point]:
        points = []
        for block in _blocks(value, "spans"):
            try:
                common = _common(block, {"attributes"})
            except _Wrong as wrong:
                found.append(Violation(wrong.code, f"the whole block is dropped: {wrong}"))
                continue
            for span in block["spans"]:
                try:
                    points.append(self._span(span, common, request.now))
                except _Wrong as wrong:
                    found.append(Violation(wrong.code, str(wrong)))
        return points

    def _span(self, span: Any, common: dict[str, Any], now: float) -> Point:
        if not isinstance(span, dict):
            raise _Wrong("schema", f"a span is an object, not {clip(span)}")
        for key in span.keys() - {"id", "trace.id", "timestamp", "attributes"}:
            raise _Wrong("schema", f"a span has the key {key!r}")
        for key in ("id", "trace.id"):
            if not isinstance(span.get(key), str) or not span[key]:
                raise _Wrong("schema", f"a span lacks {key}")
        attributes = {**common.get("attributes", {}), **(span.get("attributes") or {})}
        name = attributes.get("name", "")
        if not name:
            raise _Wrong("schema", f"the span {span['id']} has no attribute name")
        _check_attributes(attributes, f"the span {name}", MAX_SPAN_ATTRIBUTES, 4000)
        at = _seconds(span.get("timestamp", int(now * 1000)), f"the span {name}")
        with self._lock:
            young = abs(now - at) <= SPAN_AGE or now - self._traces.get(span["trace.id"], -DAY) <= SPAN_AGE
            if not young:
                raise _Wrong("too_old", f"the span {name} is {now - at:.0f} s old; 20 minutes are taken")
            self._traces[span["trace.id"]] = now
        duration = attributes.get("duration.ms")
        if duration is not None and not (is_number(duration) and duration >= 0):
            raise _Wrong("value", f"the span {name} has the duration {clip(duration)}")
        tags = {**attributes, "id": span["id"], "trace.id": span["trace.id"]}
        return Point("span", name, _tags(tags), at, "span", duration)


def _blocks(value: Any, key: str) -> list[dict[str, Any]]:
    good = isinstance(value, list) and all(
        isinstance(block, dict) and isinstance(block.get(key), list) and not block.keys() - {key, "common"}
        for block in value
    )
    if not good or not value or not all(block[key] for block in value):
        raise Refusal(400, "schema", f"the body is no array of maps with a filled list {key!r} and perhaps 'common'")
    return list(value)


def _common(block: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    common = block.get("common", {})
    if not isinstance(common, dict) or common.keys() - keys:
        raise _Wrong("schema", f"common is a map of {sorted(keys)}, not {clip(common)}")
    attributes = common.get("attributes", {})
    if not isinstance(attributes, dict):
        raise _Wrong("schema", "the attributes in common are no map")
    return common


def _metric(metric: Any, common: dict[str, Any], now: float, found: list[Violation]) -> Point:
    if not isinstance(metric, dict):
        raise _Wrong("schema", f"a metric is an object, not {clip(metric)}")
    name = metric.get("name")
    if not isinstance(name, str) or not 0 < len(name) < 255:
        raise _Wrong("metric_name", f"{clip(name)} is no name of less than 255 characters")
    for key in metric.keys() - {"name", "type", "value", "timestamp", "interval.ms", "attributes"}:
        raise _Wrong("schema", f"{name} has the key {key!r}, which a metric has not")
    kind = metric.get("type", "gauge")
    if kind not in ("gauge", "count", "summary"):
        raise _Wrong("type", f"{name} has the type {clip(kind)}; gauge, count and summary are")
    value = metric.get("value")
    if kind == "summary":
        _check_summary(value, name)
    elif not is_number(value) or (not -LONG <= value < LONG and is_integer(value)):
        raise _Wrong("value", f"{name} has the value {clip(value)}, no finite number of Java")
    interval = metric.get("interval.ms", common.get("interval.ms"))
    if interval is not None and not (is_integer(interval) and interval > 0):
        raise _Wrong("interval", f"{name} has the interval.ms {clip(interval)}, no positive long")
    if kind != "gauge" and interval is None:
        raise _Wrong("interval", f"{name} is a {kind} and has no interval.ms")
    at = metric.get("timestamp", common.get("timestamp"))
    if at is None:
        raise _Wrong("timestamp", f"{name} has no timestamp, neither its own nor a common one")
    seconds = _seconds(at, name)
    if seconds < now - OLDEST:
        raise _Wrong("too_old", f"{name} is {now - seconds:.0f} s old; 48 hours are taken")
    if seconds > now + NEWEST:
        raise _Wrong("too_new", f"{name} is {seconds - now:.0f} s in the future; 24 hours are taken")
    own = metric.get("attributes", {})
    if not isinstance(own, dict):
        raise _Wrong("schema", f"the attributes of {name} are no map")
    attributes = {**common.get("attributes", {}), **own}
    _check_attributes(attributes, name, MAX_ATTRIBUTES, 4096)
    if name in attributes or attributes.keys() & KEYS_OF_JSON:
        raise _Wrong("attribute", f"{name} has an attribute of its own name or of a key of the metric's JSON")
    if overwritten := sorted(attributes.keys() & OVERWRITTEN):
        found.append(Violation("attribute_altered", f"{name}: New Relic overwrites {overwritten}", refused=False))
    length = interval / 1000 if interval is not None else None
    return Point("metric", name, _tags(attributes), seconds, kind, value, length)


def _check_summary(value: Any, name: str) -> None:
    if not isinstance(value, dict) or value.keys() != {"count", "sum", "min", "max"}:
        raise _Wrong("value", f"{name}: a summary is a map of count, sum, min and max, not {clip(value)}")
    if not all(map(is_number, value.values())):
        raise _Wrong("value", f"{name} has a summary with what is no finite number: {clip(value)}")
    if value["count"] < 0 or value["min"] > value["max"]:
        raise _Wrong("value", f"{name} has a summary that cannot be: {clip(value)}")


def _event(event: Any, now: float) -> Point:
    if not isinstance(event, dict):
        raise _Wrong("schema", f"an event is an object, not {clip(event)}")
    kind = event.get("eventType")
    if not isinstance(kind, str) or not EVENT_TYPE.fullmatch(kind) or RESERVED_TYPE.fullmatch(kind):
        raise _Wrong("event_type", f"{clip(kind)} is no event type, or a reserved one")
    at = _seconds(event.get("timestamp", int(now * 1000)), kind)
    if abs(at - now) > DAY:
        raise _Wrong("too_old", f"{kind} is {now - at:.0f} s old; a day to either side is taken")
    attributes = {key: value for key, value in event.items() if key not in ("eventType", "timestamp")}
    if "accountId" in attributes or not is_integer(attributes.get("appId", 0)):
        raise _Wrong("attribute", f"{kind} has accountId, or an appId that is no integer; they are dropped")
    if any(isinstance(value, bool) for value in attributes.values()):
        raise _Wrong("attribute", f"{kind} has a truth value; texts and numbers are taken")
    _check_attributes(attributes, kind, MAX_EVENT_ATTRIBUTES, 4096)
    return Point("event", kind, _tags(attributes), at, "event", 1)


def _check_attributes(attributes: dict[str, Any], name: str, most: int, longest: int) -> None:
    if len(attributes) > most:
        raise _Wrong("attributes", f"{name} has {len(attributes)} attributes; {most} are taken")
    for key, value in attributes.items():
        if not ATTRIBUTE.fullmatch(key):
            raise _Wrong("attribute", f"{name}: {clip(key)} is no name of letters, digits, : . _ below 255 characters")
        if isinstance(value, str):
            if len(value) > longest:
                raise _Wrong(
                    "attribute", f"{name}: the value of {key} has {len(value)} characters; {longest} are taken"
                )
        elif not isinstance(value, bool) and not is_number(value):
            raise _Wrong("attribute", f"{name}: the value of {key} is {clip(value)}, no text, number or truth value")


def _seconds(at: Any, name: str) -> float:
    """Unix time in seconds of a timestamp in seconds, or in milli-, micro- or nanoseconds, told by its size."""
    if not is_integer(at) or at <= 0:
        raise _Wrong("timestamp", f"{name} has the timestamp {clip(at)}, no positive long")
    for unit in (1, 1e3, 1e6, 1e9):
        if at / unit < 1e11:
            return float(at / unit)
    raise _Wrong("timestamp", f"{name} has the timestamp {at}, beyond nanoseconds")


def _tags(attributes: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value if isinstance(value, str) else repr(value)) for key, value in attributes.items())


def _make(options: argparse.Namespace) -> NewRelic:
    return NewRelic(options.api_key)


if __name__ == "__main__":
    run(_make, __doc__)
