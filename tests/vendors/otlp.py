"""A strict OTLP/HTTP receiver: `python -m tests.vendors.otlp --port 4318`.

Rules, as published:
- POST /v1/metrics, /v1/traces and /v1/logs with Content-Type application/x-protobuf, gzip or not, 20 MiB; answers are
  protobuf, a google.rpc.Status for errors; 429 and 503 with Retry-After:
  https://opentelemetry.io/docs/specs/otlp/#otlphttp
- Sums and histograms have a temporality and, cumulative ones, a start before their time; values of monotonic sums do
  not fall while the start stays; keys of attributes are unique and filled:
  https://opentelemetry.io/docs/specs/otel/metrics/data-model/ and
  https://opentelemetry.io/docs/specs/otel/common/#attribute-collections
- bucket_counts is one longer than explicit_bounds, which rise; counts add up:
  https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto
- a resource says service.name: https://opentelemetry.io/docs/specs/semconv/resource/#service
- trace ids have 16 and span ids 8 bytes, neither all zero; a span ends not before it starts:
  https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
- a log record has a time of either kind and a severity of 0 to 24; its ids are valid or empty:
  https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/logs/v1/logs.proto

The specification sets no bound to ages. A point that breaks a rule is not taken, which the answer's partial_success
says; the others are. With several resources, each point's tags begin with those of its resource.
"""

import argparse
import threading
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.vendors.book import Point, Violation
from tests.vendors.control import run
from tests.vendors.otlp_rules import (
    Broken,
    Sums,
    Tags,
    check_metric,
    check_record,
    check_resource,
    check_span,
    data_points,
)
from tests.vendors.wire import Refusal, Reply, Request, content_type, unpacked

WIRE = RAW = 20 << 20
PROTOBUF = "application/x-protobuf"
MAX_TOLD = 20


class Otlp:
    """A collector's receiver."""

    def __init__(self) -> None:
        self._sums = Sums()
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Reply:
        if request.path not in ("/v1/metrics", "/v1/traces", "/v1/logs"):
            raise Refusal(404, "path", f"there is no {request.path}")
        if request.method != "POST":
            raise Refusal(405, "method", f"{request.method} {request.path}")
        if content_type(request) != PROTOBUF:
            raise Refusal(415, "content_type", f"Content-Type {content_type(request)!r} is not {PROTOBUF}")
        body = unpacked(request, {"gzip"}, wire=WIRE, raw=RAW)
        found: list[Violation] = []
        if request.path == "/v1/metrics":
            metrics = _parsed(ExportMetricsServiceRequest(), body)
            with self._lock:
                points, sent = self._metrics(metrics, request.now, found)
            answer: Message = ExportMetricsServiceResponse()
        elif request.path == "/v1/traces":
            traces = _parsed(ExportTraceServiceRequest(), body)
            spans = (
                (each.resource, [s for scope in each.scope_spans for s in scope.spans])
                for each in traces.resource_spans
            )
            points, sent = _checked(spans, check_span, found)
            answer = ExportTraceServiceResponse()
        else:
            logs = _parsed(ExportLogsServiceRequest(), body)
            records = (
                (each.resource, [r for scope in each.scope_logs for r in scope.log_records])
                for each in logs.resource_logs
            )
            points, sent = _checked(records, check_record, found)
            answer = ExportLogsServiceResponse()
        if len(points) < sent:
            _reject(answer, sent - len(points), "; ".join(violation.text for violation in found[:3]))
        return Reply(200, answer.SerializeToString(), PROTOBUF, points=points, violations=found[:MAX_TOLD])

    def error(self, request: Request, status: int, text: str, code: str = "") -> Reply:
        return Reply(status, Status(message=text).SerializeToString(), PROTOBUF)

    def partial(self, reply: Reply, rejected: int) -> Reply:
        """The last points are not taken, and the answer says so."""
        if reply.status == 200 and reply.points:
            rejected = min(rejected, len(reply.points))
            answers = {"span": ExportTraceServiceResponse, "log": ExportLogsServiceResponse}
            answer = answers.get(reply.points[0].lane, ExportMetricsServiceResponse)()
            _reject(answer, rejected, "scripted")
            reply.points = reply.points[: len(reply.points) - rejected]
            reply.body = answer.SerializeToString()
        return reply

    def close(self) -> None:
        """It started nothing."""

    def _metrics(self, metrics: Any, now: float, found: list[Violation]) -> tuple[list[Point], int]:
        points: list[Point] = []
        places: set[tuple[Any, ...]] = set()
        sent = 0
        for resource in metrics.resource_metrics:
            try:
                common = check_resource(resource.resource)
            except Broken as broken:
                found.append(Violation(broken.code, str(broken)))
                sent += sum(len(data_points(m)) for scope in resource.scope_metrics for m in scope.metrics)
                continue
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                sent += len(data_points(metric))
                if not data_points(metric):
                    found.append(Violation("empty", f"{metric.name} has no data point"))
                for data in data_points(metric):
                    try:
                        point = check_metric(metric, data, common, now)
                        place = (point.name, frozenset(point.tags), point.time)
                        if place in places:
                            raise Broken(
                                "duplicate", f"{point.name} has two points of one time and the same attributes"
                            )
                        self._sums.check(metric, point)
                    except Broken as broken:
                        found.append(Violation(broken.code, str(broken)))
                    else:
                        places.add(place)
                        points.append(point)
        return points, sent


def _checked(
    groups: Iterable[tuple[Any, list[Any]]], check: Callable[[Any, Tags], Point], found: list[Violation]
) -> tuple[list[Point], int]:
    """The spans or log records of each resource."""
    points: list[Point] = []
    sent = 0
    for resource, items in groups:
        sent += len(items)
        try:
            common = check_resource(resource)
        except Broken as broken:
            found.append(Violation(broken.code, str(broken)))
            continue
        for item in items:
            try:
                points.append(check(item, common))
            except Broken as broken:
                found.append(Violation(broken.code, str(broken)))
    return points, sent


def _parsed(message: Any, body: bytes) -> Any:
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise Refusal(400, "protobuf", f"the body is no {type(message).__name__}: {error}") from None
    if _unknown(message):
        raise Refusal(400, "protobuf", f"the body has fields that {type(message).__name__} has not: another message?")
    return message


def _unknown(message: Any) -> bool:
    """Whether it has fields that its schema has not, as a mistake in a hand-written encoder makes them."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return bool(known.ByteSize() != message.ByteSize())


def _reject(answer: Any, number: int, text: str) -> None:
    names = {ExportTraceServiceResponse: "rejected_spans", ExportLogsServiceResponse: "rejected_log_records"}
    setattr(answer.partial_success, names.get(type(answer), "rejected_data_points"), number)
    answer.partial_success.error_message = text


def _make(options: argparse.Namespace) -> Otlp:
    return Otlp()


if __name__ == "__main__":
    run(_make, __doc__)
