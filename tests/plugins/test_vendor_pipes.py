"""From snapshots through the pipe to a server in the vendor's place: each point arrives once, in its format."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from agent.api import Event, Histogram, Host, Kind, MetricSpec, Sample, Snapshot
from agent.export.pipe import ExportPipe
from plugins.cloudwatch.plugin import CloudWatch, CloudWatchConfig
from plugins.datadog.plugin import Datadog, DatadogConfig
from plugins.newrelic.plugin import NewRelic, NewRelicConfig
from plugins.otlp.plugin import Otlp, OtlpConfig
from tests.plugins.recording_server import Recorder, recording
from tests.waiting import wait_until

SPECS = {
    spec.name: spec
    for spec in (
        MetricSpec("predis_cache_up", Kind.gauge, "Up."),
        MetricSpec("predis_commands_total", Kind.counter, "Commands.", labels=("command",)),
        MetricSpec("predis_command_duration_seconds", Kind.histogram, "Latency.", "seconds", ("command",)),
    )
}
START = 1_700_000_000.0
Start = Callable[[Any, Any], ExportPipe]


def snapshot(seconds: float, commands: int, times: tuple[int, int, int], total: float) -> Snapshot:
    samples = [
        Sample("predis_cache_up", 1.0),
        Sample("predis_commands_total", commands, ("GET",)),
        Sample("predis_command_duration_seconds", Histogram((0.001, 0.01), times, total), ("GET",)),
        Sample("predis_command_duration_seconds", Histogram((0.001, 0.01), (0, 0, 0), 0.0), ("SET",)),
    ]
    return Snapshot(START + seconds, {sample.key: sample for sample in samples}, SPECS)


@pytest.fixture
def vendor() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    pipes: list[ExportPipe] = []

    def build(plugin: Any, config: Any) -> ExportPipe:
        pipe = ExportPipe("vendor", plugin.predis_destination(), config, tmp_path, clock=lambda: START + 20)
        pipes.append(pipe)
        return pipe

    yield build
    for pipe in pipes:
        pipe.stop(1.0)


def deliver(pipe: ExportPipe) -> None:
    pipe.offer(snapshot(0, 100, (1, 0, 0), 0.0005))
    pipe.offer(snapshot(10, 142, (3, 2, 0), 0.0125))
    pipe.emit(Event(START + 11, "cache_restarted", "The cache was restarted"))
    pipe.offer(snapshot(20, 142, (3, 2, 0), 0.0125))

    def done() -> bool:
        books = pipe.account.books()
        assert books.balanced, books
        assert books.dropped == {}, books
        return books.produced > 0 and books.delivered == books.produced

    wait_until(done, what="everything to be delivered")


def test_datadog_gets_each_point_once(vendor: Recorder, start: Start) -> None:
    config = DatadogConfig.model_validate({"enabled": True, "api_key": "canary", "endpoint": vendor.url})
    deliver(start(Datadog(config), config))
    bodies = [(request.path, json.loads(request.body)) for request in vendor.requests]
    series = [entry for path, body in bodies if path == "/api/v2/series" for entry in body["series"]]
    points = {
        (entry["metric"], point["timestamp"] - START): point["value"]
        for entry in series
        for point in entry["points"]
        if "command:set" not in entry["tags"]
    }
    assert points == {
        ("predis_cache_up", 0): 1.0,
        ("predis_cache_up", 10): 1.0,
        ("predis_cache_up", 20): 1.0,
        ("predis_commands_total", 10): 42.0,
        ("predis_commands_total", 20): 0.0,
        ("predis_command_duration_seconds_count", 10): 4,
        ("predis_command_duration_seconds_count", 20): 0,
        ("predis_command_duration_seconds_sum", 10): pytest.approx(0.012),
        ("predis_command_duration_seconds_sum", 20): 0.0,
    }
    # distributions only where something was observed, deflated, since nothing else is taken there
    ((request, distribution),) = [
        (request, json.loads(request.body))
        for request in vendor.requests
        if request.path.endswith("/distribution_points")
    ]
    assert request.headers["content-encoding"] == "deflate"
    ((time, values),) = distribution["series"][0]["points"]
    assert time == START + 10
    assert sum(values) == pytest.approx(0.012)
    assert len(values) == 4
    checks = [check for path, body in bodies if path == "/api/v1/check_run" for check in body]
    assert {(check["check"], check["status"]) for check in checks} == {("predis.cache.can_connect", 0)}
    assert len(checks) == 3
    assert [body["title"] for path, body in bodies if path == "/api/v1/events"] == ["The cache was restarted"]


def test_new_relic_gets_each_point_once(vendor: Recorder, start: Start) -> None:
    own = {"enabled": True, "license_key": "canary", "endpoint": vendor.url, "account_id": "7"}
    config = NewRelicConfig.model_validate(own)
    deliver(start(NewRelic(config), config))
    blocks = [
        block for request in vendor.requests if request.path == "/metric/v1" for block in json.loads(request.body)
    ]
    values = {
        (metric["name"], (block["common"]["timestamp"] + block["common"].get("interval.ms", 0)) / 1000 - START): (
            metric["value"]
        )
        for block in blocks
        for metric in block["metrics"]
    }
    assert values == {
        ("predis_cache_up", 0): 1.0,
        ("predis_cache_up", 10): 1.0,
        ("predis_cache_up", 20): 1.0,
        ("predis_commands_total", 10): 42.0,
        ("predis_commands_total", 20): 0.0,
        ("predis_command_duration_seconds", 10): {"count": 4, "sum": pytest.approx(0.012), "min": 0.0, "max": 0.01},
    }
    ((event,),) = [json.loads(request.body) for request in vendor.requests if request.path == "/v1/accounts/7/events"]
    assert (event["eventType"], event["title"]) == ("PredisEvent", "The cache was restarted")


def test_cloudwatch_gets_each_point_once(
    vendor: Recorder, start: Start, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    own = {"enabled": True, "region": "eu-west-1", "endpoint": vendor.url, "metrics": ["*"]}
    config = CloudWatchConfig.model_validate({**own, "dimensions": {"host": ""}})
    plugin = CloudWatch(config)
    plugin.predis_start(host)
    deliver(start(plugin, config))
    data = [metric for request in vendor.requests for metric in json.loads(request.body)["MetricData"]]
    values = {(m["MetricName"], m["Timestamp"] - START): m["Value"] for m in data if "Value" in m}
    assert values == {
        ("predis_cache_up", 0): 1.0,
        ("predis_cache_up", 10): 1.0,
        ("predis_cache_up", 20): 1.0,
        ("predis_commands_total", 10): 42.0,
        ("predis_commands_total", 20): 0.0,
    }
    (times,) = [metric for metric in data if "Values" in metric]  # once, since only once something was observed
    assert times["Timestamp"] == START + 10
    assert times["Dimensions"] == [{"Name": "command", "Value": "GET"}]
    assert sum(times["Counts"]) == 4
    pairs = zip(times["Values"], times["Counts"], strict=True)
    assert sum(value * count for value, count in pairs) == pytest.approx(0.012)


def test_otlp_gets_each_point_once(vendor: Recorder, start: Start, host: Host) -> None:
    config = OtlpConfig.model_validate({"enabled": True, "endpoint": vendor.url})
    plugin = Otlp(config)
    plugin.predis_start(host)
    deliver(start(plugin, config))
    values: dict[tuple[str, float], float] = {}
    for request in vendor.requests:
        if request.path == "/v1/metrics":
            message = ExportMetricsServiceRequest.FromString(request.body)
            for metric in message.resource_metrics[0].scope_metrics[0].metrics:
                data = getattr(metric, str(metric.WhichOneof("data")))
                for point in data.data_points:
                    command = next((one.value.string_value for one in point.attributes), "")
                    value = point.sum if metric.HasField("histogram") else point.as_double
                    values[metric.name + command, point.time_unix_nano / 1e9 - START] = value
    took = "predis_command_duration_seconds"
    for seconds, commands, total in ((0, 100, 0.0005), (10, 142, 0.0125), (20, 142, 0.0125)):
        assert values.pop(("predis_cache_up", seconds)) == 1.0
        assert values.pop(("predis_commands_totalGET", seconds)) == commands
        assert values.pop((f"{took}GET", seconds)) == pytest.approx(total)
        assert values.pop((f"{took}SET", seconds)) == 0.0
    assert values == {}
    (logs,) = [request.body for request in vendor.requests if request.path == "/v1/logs"]
    (record,) = ExportLogsServiceRequest.FromString(logs).resource_logs[0].scope_logs[0].log_records
    assert record.body.string_value == "The cache was restarted"
