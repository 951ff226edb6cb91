"""The OTLP exporter: what it writes, read by OpenTelemetry's own messages, and how it understands a receiver."""

import gzip
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from agent.api import (
    Answer,
    Batch,
    Body,
    Event,
    Histogram,
    Host,
    Kind,
    MetricSpec,
    MissingLibrary,
    Series,
    Temporality,
    Verdict,
)
from agent.metrics.catalogue import BASE_UNITS
from agent.metrics.docs import shipped_entry_points, specs_of
from plugins.otlp.destination import OtlpDestination, answer
from plugins.otlp.metrics import MetricsEncoder
from plugins.otlp.names import CONVENTIONS, UCUM, Form
from plugins.otlp.plugin import Otlp, OtlpConfig
from tests.plugins.recording_server import Recorder, recording
from tests.servers import ROOT

NOW = float(int(time.time())) + 0.25
SINCE = NOW - 3600
KEY = "canary-otlp-key-0123456789"
KEYS = MetricSpec("predis_keys", Kind.gauge, "Keys stored.")
COMMANDS = MetricSpec("predis_commands_total", Kind.counter, "Commands executed.", "", ("command", "server"))
TOOK = MetricSpec("predis_command_duration_seconds", Kind.histogram, "How long.", "seconds", ("command",))
INFO = MetricSpec("predis_build_info", Kind.info, "Which agent this is.", "", ("version",))
ALL = {spec.name: spec for point in shipped_entry_points() for spec in specs_of(point)}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.status, recorder.body = 200, b""
        yield recorder


def destination(host: Host, **config: Any) -> OtlpDestination:
    plugin = Otlp(OtlpConfig(enabled=True, **config))
    plugin.predis_start(host)
    found = plugin.predis_destination()
    assert isinstance(found, OtlpDestination)
    return found


def decoded(to: OtlpDestination | MetricsEncoder, batch: Batch) -> dict[str, Metric]:
    request = ExportMetricsServiceRequest.FromString(to.encode(batch))
    metrics = list(request.resource_metrics[0].scope_metrics[0].metrics)
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


def points(series: list[Series], values: list[Any]) -> Batch:
    return Batch("metrics", NOW, 10.0, series, values, [SINCE] * len(series))


def texts(attributes: Any) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in attributes}


def test_points_of_every_kind_arrive_as_opentelemetry_has_them(host: Host) -> None:
    to = destination(host)
    assert to.temporality is Temporality.cumulative
    get, set_ = Series(COMMANDS, ("get", "")), Series(COMMANDS, ("set", "s1"))
    series = [Series(KEYS, ()), get, Series(TOOK, ("get",)), set_, Series(INFO, ("1.2.3",))]
    found = decoded(to, points(series, [5, 10, Histogram((0.1, 0.2), (1, 2, 3), 1.5), 2.5, 1]))
    keys = found["predis_keys"]
    assert (keys.description, keys.unit) == ("Keys stored.", "1")
    assert [point.as_double for point in keys.gauge.data_points] == [5.0]
    commands = found["predis_commands_total"].sum
    assert (commands.is_monotonic, commands.aggregation_temporality) == (True, 2)
    assert [(texts(p.attributes), p.as_double) for p in commands.data_points] == [
        ({"command": "get"}, 10.0),
        ({"command": "set", "server": "s1"}, 2.5),
    ]
    assert {p.time_unix_nano for p in commands.data_points} == {round(NOW * 1e9)}
    assert {p.start_time_unix_nano for p in commands.data_points} == {round(SINCE * 1e9)}
    took = found["predis_command_duration_seconds"]
    assert (took.unit, took.histogram.aggregation_temporality) == ("s", 2)
    (point,) = took.histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([0.1, 0.2], [1, 2, 3])
    assert (point.count, point.sum) == (6, 1.5)
    assert found["predis_build_info"].gauge.data_points[0].as_double == 1


def test_a_series_keeps_nothing_of_the_batch_before(host: Host) -> None:
    to, series = destination(host), [Series(TOOK, ("get",)), Series(KEYS, ())]
    decoded(to, points(series, [Histogram((0.1,), (1, 2), 1.0), 1]))
    found = decoded(to, points(series, [Histogram((0.1, 0.5), (1, 2, 7), 2.0), 2]))
    (point,) = found["predis_command_duration_seconds"].histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts), point.sum) == ([0.1, 0.5], [1, 2, 7], 2.0)
    assert [point.as_double for point in found["predis_keys"].gauge.data_points] == [2.0]


@given(
    st.lists(st.tuples(st.text(max_size=200), st.floats(allow_nan=False), st.floats(0, NOW)), min_size=1, max_size=30)
)
def test_whatever_is_written_is_read_again(rows: list[tuple[str, float, float]]) -> None:
    encoder = MetricsEncoder(Resource(), InstrumentationScope(), semconv=True)
    series = [Series(COMMANDS, (label.encode(errors="replace").decode(), "s")) for label, _, _ in rows]
    batch = Batch("metrics", NOW, 10.0, series, [value for _, value, _ in rows], [start for _, _, start in rows])
    found = decoded(encoder, batch)["predis_commands_total"].sum.data_points
    assert [point.as_double for point in found] == [value for _, value, _ in rows]
    assert [point.start_time_unix_nano for point in found] == [int(start * 1e9) for _, _, start in rows]
    assert [texts(point.attributes).get("command", "") for point in found] == [one.labels[0] for one in series]


def test_gpus_and_redis_servers_are_called_as_in_the_conventions(host: Host) -> None:
    rows = [
        ("predis_gpu_busy_ratio", ("0",), "hw.gpu.utilization", {"hw.id": "0", "hw.type": "gpu"}),
        ("predis_gpu_memory_used_bytes", ("0",), "hw.gpu.memory.usage", {"hw.id": "0", "hw.type": "gpu"}),
        (
            "predis_gpu_ecc_errors_total",
            ("0", "corrected"),
            "hw.errors",
            {"hw.id": "0", "hw.type": "gpu", "error.type": "corrected"},
        ),
        (
            "predis_redis_network_bytes_total",
            ("[::1]:6379", "in"),
            "redis.net.input",
            {"server.address": "::1", "server.port": "6379"},
        ),
        (
            "predis_redis_network_bytes_total",
            ("/run/redis.sock", "out"),
            "redis.net.output",
            {"server.address": "/run/redis.sock"},
        ),
    ]
    batch = points([Series(ALL[name], labels) for name, labels, _, _ in rows], [1.0] * len(rows))
    found = decoded(destination(host), batch)
    for _, _, name, attributes in rows:
        metric = found[name]
        (point,) = (metric.gauge if metric.WhichOneof("data") == "gauge" else metric.sum).data_points
        assert texts(point.attributes) == attributes
    memory = found["hw.gpu.memory.usage"]
    assert (memory.unit, memory.WhichOneof("data"), memory.sum.is_monotonic) == ("By", "sum", False)
    assert (found["hw.errors"].unit, found["hw.errors"].sum.is_monotonic) == ("{error}", True)
    own = decoded(destination(host, naming="predis"), batch)
    assert set(own) == {name for name, _, _, _ in rows}


def test_the_table_of_conventions_fits_the_catalogue() -> None:
    for name, convention in CONVENTIONS.items():
        spec = ALL[name]
        assert (spec.kind is Kind.counter) == (convention.form is Form.sum), name
        assert {*convention.labels, *([convention.by] if convention.by else [])} <= set(spec.labels), name
    assert set(UCUM) == BASE_UNITS | {""}


def test_the_readme_has_the_table_of_conventions() -> None:
    readme = (ROOT / "plugins" / "otlp" / "README.md").read_text(encoding="utf-8")
    for name, convention in CONVENTIONS.items():
        first = convention.name.format("in") if convention.by else convention.name
        assert f"| `{name}` | `{first}`" in readme


def test_it_says_which_agent_it_is(host: Host) -> None:
    to = destination(host, resource={"deployment.environment.name": "test", "host.name": ""})
    request = ExportMetricsServiceRequest.FromString(to.encode(points([Series(KEYS, ())], [1])))
    resource = texts(request.resource_metrics[0].resource.attributes)
    assert resource.pop("service.instance.id").count("-") == 4
    assert resource == {
        "service.name": "predis-agent",
        "service.version": "1.2.3",
        "deployment.environment.name": "test",
    }
    scope = request.resource_metrics[0].scope_metrics[0].scope
    assert (scope.name, scope.version) == ("predis-agent", "1.2.3")
    assert texts(destination(host)._resource.attributes)["host.name"] == socket.gethostname()


def test_an_event_that_lasts_is_a_span(host: Host) -> None:
    to = destination(host)
    ids = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    long = Event(NOW, "incident", "Latency is high", "p99 over 1 ms", "error", {"metric": "x"}, 2.5, **ids)
    child = Event(NOW, "remediation", "Evicted", duration=0.0, trace_id=ids["trace_id"], parent_id=ids["span_id"])
    assert to.event_lanes(long) == to.event_lanes(child) == ("traces",)
    body = to.encode(Batch("traces", NOW, events=[long, child]))
    assert body == to.encode(Batch("traces", NOW, events=[long, child]))  # the same when it is sent again
    first, second = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert (first.name, first.trace_id.hex(), first.span_id.hex()) == ("incident", ids["trace_id"], ids["span_id"])
    assert first.end_time_unix_nano - first.start_time_unix_nano == 2_500_000_000
    assert (first.status.code, first.status.message) == (2, "Latency is high")
    assert texts(first.attributes)["metric"] == "x"
    assert (second.trace_id, second.parent_span_id) == (first.trace_id, first.span_id)
    assert len(second.span_id) == 8
    assert any(second.span_id)


def test_an_event_without_duration_is_a_log_record(host: Host) -> None:
    to = destination(host)
    event = Event(NOW, "cache_restarted", "The cache was started again", severity="warning", attributes={"pid": "7"})
    assert to.event_lanes(event) == ("logs",)
    request = ExportLogsServiceRequest.FromString(to.encode(Batch("logs", NOW, events=[event])))
    (record,) = request.resource_logs[0].scope_logs[0].log_records
    assert (record.body.string_value, record.severity_number) == (event.title, 13)
    assert texts(record.attributes)["event.name"] == "cache_restarted"


def test_requests_are_as_the_sdks_own(host: Host, recorder: Recorder) -> None:
    to = destination(host, endpoint=f"{recorder.url}/", headers={"X-Api-Key": KEY})
    body = to.encode(points([Series(KEYS, ())], [1]))
    assert to.send(Body("metrics", gzip.compress(body), "gzip")) == Answer(Verdict.accepted)
    assert to.send(Body("traces", b"", "")).verdict is Verdict.accepted
    assert to.send(Body("logs", b"", "")).verdict is Verdict.accepted
    exporter = OTLPMetricExporter(endpoint=f"{recorder.url}/v1/metrics", headers={"X-Api-Key": KEY})
    provider = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)])
    provider.get_meter("m").create_counter("c").add(1)
    provider.shutdown()
    ours, traces, logs, theirs = recorder.requests
    assert ours.body == body
    assert (ours.path, traces.path, logs.path) == (theirs.path, "/v1/traces", "/v1/logs")
    for name in ("content-type", "x-api-key"):
        assert ours.headers[name] == theirs.headers[name]
    assert ours.headers["content-encoding"] == "gzip"
    to.close()


def test_points_that_a_receiver_did_not_take_are_counted(host: Host, recorder: Recorder) -> None:
    part = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too old")
    recorder.body = ExportMetricsServiceResponse(partial_success=part).SerializeToString()
    recorder.headers["Content-Type"] = "application/x-protobuf"
    said = destination(host, endpoint=recorder.url).send(Body("metrics", b"", ""))
    assert said == Answer(Verdict.accepted, "partial_success", "too old", rejected=3)
    warned = ExportMetricsServiceResponse(partial_success={"error_message": "please upgrade"}).SerializeToString()
    assert answer(200, recorder.headers, warned) == Answer(Verdict.accepted, detail="please upgrade")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (429, Verdict.retry),
        (502, Verdict.retry),
        (503, Verdict.retry),
        (504, Verdict.retry),
        (413, Verdict.too_large),
        (400, Verdict.refused),
        (401, Verdict.refused),
        (404, Verdict.refused),
        (408, Verdict.refused),
        (500, Verdict.refused),
        (501, Verdict.refused),
    ],
)
def test_only_what_the_protocol_names_is_sent_again(status: int, verdict: Verdict) -> None:
    assert answer(status, {}, b"").verdict is verdict


def test_a_receiver_says_when_and_why(recorder: Recorder) -> None:
    status = ExportMetricsPartialSuccess(rejected_data_points=14, error_message="overloaded").SerializeToString()
    headers = {"Content-Type": "application/x-protobuf", "Retry-After": "30"}
    assert answer(503, headers, status) == Answer(
        Verdict.retry, "http_503", "HTTP status 503: overloaded", retry_after=30.0
    )
    assert answer(400, headers, b"\xff\xff not protobuf").verdict is Verdict.refused


def test_the_status_of_an_error_has_the_fields_of_a_partial_success() -> None:
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    body = status_pb2.Status(code=8, message="quota is used up").SerializeToString()
    said = answer(429, {"content-type": "application/x-protobuf"}, body)
    assert said.detail == "HTTP status 429: quota is used up"


def test_without_the_sdk_it_says_what_to_install(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.proto", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'predis-agent\[otlp\]'"):
        Otlp(OtlpConfig(enabled=True)).predis_start(host)


def test_the_values_of_headers_are_in_nothing_that_is_said(host: Host, recorder: Recorder) -> None:
    config = OtlpConfig(enabled=True, endpoint=recorder.url, headers={"Authorization": f"Bearer {KEY}"})
    plugin = Otlp(config)
    plugin.predis_start(host)
    to = plugin.predis_destination()
    recorder.status, recorder.body = 401, f"no such key: {KEY}".encode()
    said = to.send(Body("metrics", b"", ""))
    assert recorder.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(said) + repr(config) + repr(plugin) + plugin.note + repr(to)
    with pytest.raises(ValueError, match="line end") as refused:
        OtlpConfig.model_validate({"headers": {"x": f"{KEY}\nY: 1"}})
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint", "127.0.0.1:4318"),
        ("endpoint", "grpc://127.0.0.1:4317"),
        ("endpoint", "http://127.0.0.1:4318/v1/metrics"),
        ("endpoint", f"https://user:{KEY}@host"),
        ("headers", {"Content-Type": "application/json"}),
        ("headers", {"a b": "x"}),
        ("naming", "otel"),
        ("compression", "zstd"),
    ],
)
def test_a_wrong_configuration_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key) as refused:
        OtlpConfig.model_validate({key: value})
    assert KEY not in str(refused.value)
