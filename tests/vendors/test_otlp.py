"""The OTLP receiver takes what OpenTelemetry's own exporters send, and says in partial_success what it does not."""

import gzip
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.vendors.faults import partial, status
from tests.vendors.running import Vendor, start_vendor

RESOURCE = {"service.name": "predis", "host.name": "here"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("otlp", tmp_path_factory.mktemp("vendors"), tls=True) as running:
        yield running


@pytest.fixture
def vendor(shared: Vendor) -> Vendor:
    shared.reset()
    return shared


def set_attributes(place: Any, values: dict[str, str]) -> None:
    for key, value in values.items():
        place.add(key=key).value.string_value = value


def one_sum(name: str, value: float, *, start: float | None = None, at: float | None = None) -> Metric:
    """A cumulative monotonic sum of one point, by default since a minute ago until now."""
    metric = Metric(name=name)
    metric.sum.aggregation_temporality = 2
    metric.sum.is_monotonic = True
    point = metric.sum.data_points.add(as_double=value)
    now = time.time() if at is None else at
    point.time_unix_nano = int(now * 1e9)
    point.start_time_unix_nano = int((now - 60 if start is None else start) * 1e9)
    set_attributes(point.attributes, {"db": "0"})
    return metric


def post(vendor: Vendor, *metrics: Metric, resource: dict[str, str] | None = None) -> Any:
    """Send the metrics, and return the parsed answer of success or of failure."""
    request = ExportMetricsServiceRequest()
    block = request.resource_metrics.add()
    set_attributes(block.resource.attributes, RESOURCE if resource is None else resource)
    block.scope_metrics.add().metrics.extend(metrics)
    return send(vendor, request.SerializeToString())


def send(vendor: Vendor, body: bytes, path: str = "/v1/metrics", **headers: str) -> Any:
    given = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    if given["Content-Encoding"] == "gzip":
        body = gzip.compress(body)
    with urllib3.PoolManager(ca_certs=str(vendor.ca_file)) as pool:
        answer = pool.request("POST", vendor.url + path, body=body, headers=given, retries=False)
    assert answer.headers["Content-Type"] == "application/x-protobuf"
    if answer.status == 200:
        return ExportMetricsServiceResponse.FromString(answer.data)
    return answer.status, Status.FromString(answer.data).message


def codes(vendor: Vendor) -> list[str]:
    return [violation["code"] for violation in vendor.violations()]


def test_metrics_and_spans_of_the_sdk_are_taken(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers them to the exporter's certificate_file
        monkeypatch.delenv(name, raising=False)
    options = {"certificate_file": str(vendor.ca_file), "compression": Compression.Gzip}
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(vendor.url + "/v1/metrics", **options), 3_600_000)
    provider = MeterProvider([reader], Resource(RESOURCE))
    meter = provider.get_meter("predis")
    meter.create_counter("predis_ops_total").add(7, {"command": "get"})
    meter.create_up_down_counter("predis_clients").add(-2)
    meter.create_histogram("predis_latency", "s").record(0.25)
    meter.create_observable_gauge("predis_keys", [lambda _: []])
    assert reader.force_flush()
    traces = TracerProvider(resource=Resource(RESOURCE))
    traces.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(vendor.url + "/v1/traces", **options)))
    with traces.get_tracer("predis").start_as_current_span("remediation", attributes={"step": "restart"}):
        pass
    provider.shutdown()
    traces.shutdown()
    assert codes(vendor) == []
    points = {point.name: point for point in vendor.received()}
    assert points["predis_ops_total"].value == 7
    assert points["predis_ops_total"].kind == "cumulative sum"
    assert points["predis_ops_total"].tags == (*RESOURCE.items(), ("command", "get"))
    assert points["predis_clients"].kind == "cumulative non-monotonic sum"
    assert points["predis_latency"].value["count"] == 1
    assert points["predis_latency"].unit == "s"
    assert points["remediation"].lane == "span"
    assert dict(points["remediation"].tags)["step"] == "restart"


def without(metric: Metric, change: Callable[[Any, Any], object]) -> Metric:
    change(metric.sum, metric.sum.data_points[0])
    return metric


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("temporality", lambda whole, point: whole.ClearField("aggregation_temporality")),
        ("start", lambda whole, point: point.ClearField("start_time_unix_nano")),
        ("start", lambda whole, point: setattr(point, "start_time_unix_nano", point.time_unix_nano + 1)),
        ("timestamp", lambda whole, point: point.ClearField("time_unix_nano")),
        ("timestamp", lambda whole, point: setattr(point, "time_unix_nano", int(time.time()))),
        ("value", lambda whole, point: point.ClearField("as_double")),
        ("value", lambda whole, point: setattr(point, "as_double", float("nan"))),
        ("attribute", lambda whole, point: set_attributes(point.attributes, {"db": "1"})),
        ("attribute", lambda whole, point: point.attributes.append(KeyValue(key="empty"))),
        ("attribute", lambda whole, point: set_attributes(point.attributes, {"": "1"})),
        ("duplicate", lambda whole, point: whole.data_points.append(point)),
    ],
)
def test_a_broken_point_is_rejected_and_the_others_are_taken(
    vendor: Vendor, code: str, change: Callable[[Any, Any], object]
) -> None:
    answer = post(vendor, one_sum("good", 1), without(one_sum("bad", 1), change))
    assert answer.partial_success.rejected_data_points == 1
    assert answer.partial_success.error_message
    assert codes(vendor) == [code]
    assert "good" in [point.name for point in vendor.received()]


def test_monotonic_sums_do_not_fall_unless_they_start_anew(vendor: Vendor) -> None:
    now = time.time()
    name = "falling"
    assert not post(vendor, one_sum(name, 5, start=now - 60, at=now - 20)).HasField("partial_success")
    assert post(vendor, one_sum(name, 4, start=now - 60, at=now - 10)).partial_success.rejected_data_points == 1
    assert not post(vendor, one_sum(name, 1, start=now - 5, at=now)).HasField("partial_success")
    assert post(vendor, one_sum(name, 9, start=now - 60, at=now + 1)).partial_success.rejected_data_points == 1
    assert codes(vendor) == ["decreasing", "start"]


@pytest.mark.parametrize(
    ("bounds", "counts", "total"), [([1, 2], [1, 1], 2), ([2, 1], [1, 1, 1], 3), ([1], [1, 1], 3), ([], [1, 1], 2)]
)
def test_a_histogram_that_does_not_add_up_is_rejected(
    vendor: Vendor, bounds: list[float], counts: list[int], total: int
) -> None:
    metric = Metric(name="predis_latency")
    metric.histogram.aggregation_temporality = 2
    point = metric.histogram.data_points.add(count=total, explicit_bounds=bounds, bucket_counts=counts)
    point.time_unix_nano = int(time.time() * 1e9)
    point.start_time_unix_nano = point.time_unix_nano - 1
    assert post(vendor, metric).partial_success.rejected_data_points == 1
    assert codes(vendor) == ["histogram"]


def test_a_resource_without_a_service_loses_its_points(vendor: Vendor) -> None:
    answer = post(vendor, one_sum("a", 1), resource={"host.name": "here"})
    assert answer.partial_success.rejected_data_points == 1
    assert codes(vendor) == ["resource"]


@pytest.mark.parametrize(
    ("answered", "code", "body", "headers"),
    [
        (400, "protobuf", b"\xff\xff", {}),
        (400, "protobuf", b"\x9a\x06\x01a", {}),
        (415, "content_type", b"", {"Content_Type": "application/json"}),
        (400, "content_encoding", b"x", {"Content_Encoding": "deflate"}),
    ],
)
def test_a_broken_request_is_refused_with_a_status(
    vendor: Vendor, answered: int, code: str, body: bytes, headers: dict[str, str]
) -> None:
    assert send(vendor, body, **headers)[0] == answered
    assert codes(vendor) == [code]


@pytest.mark.parametrize(
    ("code", "ids", "times"),
    [("span_id", (bytes(16), b"1" * 8), (1, 2)), ("timestamp", (b"1" * 16, b"1" * 8), (2, 1))],
)
def test_a_broken_span_is_rejected(vendor: Vendor, code: str, ids: tuple[bytes, bytes], times: tuple[int, int]) -> None:
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    set_attributes(block.resource.attributes, RESOURCE)
    span = block.scope_spans.add().spans.add(name="remediation", trace_id=ids[0], span_id=ids[1])
    span.start_time_unix_nano, span.end_time_unix_nano = times
    assert send(vendor, request.SerializeToString(), "/v1/traces").partial_success.rejected_data_points == 1
    assert codes(vendor) == [code]


def test_log_records_are_taken_and_broken_ones_rejected(vendor: Vendor) -> None:
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add()
    set_attributes(block.resource.attributes, RESOURCE)
    records = block.scope_logs.add().log_records
    for name, number, trace_id in (("good", 17, b""), ("severe", 99, b""), ("traced", 9, bytes(16))):
        record = records.add(time_unix_nano=int(time.time() * 1e9), event_name=name, severity_number=number)
        record.body.string_value, record.trace_id = "It happened", trace_id
    records.add(event_name="timeless")
    answer = send(vendor, request.SerializeToString(), "/v1/logs")
    assert answer.partial_success.rejected_data_points == 3
    ((lane, name, value),) = [(point.lane, point.name, point.value) for point in vendor.received()]
    assert (lane, name, value) == ("log", "good", "It happened")
    assert codes(vendor) == ["severity", "log_id", "timestamp"]


def test_scripted_answers_are_protobuf_too(vendor: Vendor) -> None:
    vendor.script([status(503, retry_after=2), partial(1)])
    assert post(vendor, one_sum("a", 1)) == (503, "scripted")
    assert post(vendor, one_sum("a", 2), one_sum("b", 1)).partial_success.rejected_data_points == 1
    assert [point.name for point in vendor.received()] == ["a"]
    assert codes(vendor) == []
