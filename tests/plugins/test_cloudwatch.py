"""The CloudWatch exporter against boto3's own bodies and against moto, a server in the place of Amazon's."""

import gzip
import hashlib
import hmac
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from agent import own_metrics
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
from agent.metrics import self_metrics
from agent.metrics.docs import shipped_entry_points, specs_of
from plugins.cloudwatch.answers import answer
from plugins.cloudwatch.destination import HEADERS
from plugins.cloudwatch.encode import Encoder, dimension, unit_of
from plugins.cloudwatch.plugin import CHOSEN, CloudWatch, CloudWatchConfig, CloudWatchUnusable
from plugins.cloudwatch.values import LARGEST, values_and_counts
from tests.plugins.aws_credentials import use_nobodys
from tests.plugins.recording_server import Recorder, recording
from tests.servers import ROOT

SECRET = "wJalrXUtnFEMI/K7MDENG/canary"
NOW = float(int(time.time()))
KEYS = MetricSpec("predis_keys", Kind.gauge, "Keys stored.")
BYTES = MetricSpec("predis_network_bytes_total", Kind.counter, "Bytes.", "bytes", ("direction",))
HITS = MetricSpec("predis_keyspace_hits_total", Kind.counter, "Reads that found their key.")
BUSY = MetricSpec("predis_host_cpu_busy_ratio", Kind.gauge, "Share of time.", "ratio")
TOOK = MetricSpec("predis_command_duration_seconds", Kind.histogram, "How long.", "seconds", ("command",))
INFO = MetricSpec("predis_build_info", Kind.info, "Which agent this is.", "", ("version",))

HISTOGRAM = Histogram((0.1, 0.2, 0.4), (1, 2, 0, 1), 1.25)
BATCH = Batch(
    "metrics",
    NOW,
    10.0,
    [Series(KEYS, ()), Series(BYTES, ("in",)), Series(HITS, ()), Series(TOOK, ("get",)), Series(BUSY, ())],
    [12, 4096.5, 0, HISTOGRAM, 0.25],
    [0.0] * 5,
)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    use_nobodys(monkeypatch, SECRET)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as recorder:
        recorder.status = 200
        yield recorder


def destination(host: Host, **config: Any) -> Any:
    plugin = CloudWatch(CloudWatchConfig(enabled=True, **config))
    plugin.predis_start(host)
    return plugin.predis_destination()


def sent(to: Any, batch: Batch) -> Answer:
    return to.send(Body("metrics", gzip.compress(to.encode(batch)), "gzip"))  # type: ignore[no-any-return]


def test_the_body_is_what_boto3_sends_for_the_same_data() -> None:
    dimensions = [{"Name": "host", "Value": 'caf\\xe9"1'}]
    values, counts = values_and_counts(HISTOGRAM)
    data = [
        {"MetricName": "predis_keys", "Value": 12, "Unit": "None", "Dimensions": dimensions},
        {
            "MetricName": "predis_network_bytes_total",
            "Value": 4096.5,
            "Unit": "Bytes",
            "Dimensions": [*dimensions, {"Name": "direction", "Value": "in"}],
        },
        {"MetricName": "predis_keyspace_hits_total", "Value": 0, "Unit": "Count", "Dimensions": dimensions},
        {
            "MetricName": "predis_command_duration_seconds",
            "Values": [pytest.approx(value) for value in values],
            "Counts": counts,
            "Unit": "Seconds",
            "Dimensions": [*dimensions, {"Name": "command", "Value": "get"}],
        },
        {"MetricName": "predis_host_cpu_busy_ratio", "Value": 0.25, "Unit": "None", "Dimensions": dimensions},
    ]
    wanted = {"Namespace": "My/Cache", "MetricData": [{**d, "Timestamp": NOW, "StorageResolution": 1} for d in data]}
    ours = json.loads(Encoder("My/Cache", {"host": 'café"1'}, 1).encode(BATCH))
    assert ours == wanted
    # boto3 checks our data against Amazon's model of the service, and writes them down itself.
    bodies: list[Any] = []
    client = boto3.client("cloudwatch", endpoint_url="http://127.0.0.1:1")

    def stop(request: Any, **_: Any) -> Any:
        bodies.append(request)
        raise InterruptedError

    client.meta.events.register("before-send.cloudwatch.PutMetricData", stop)
    with pytest.raises(InterruptedError):
        client.put_metric_data(**ours)
    theirs = bodies[0]
    assert json.loads(theirs.body) == ours
    assert {name: theirs.headers[name].decode() for name in HEADERS} == HEADERS


def test_what_is_sent_can_be_read_back(host: Host, moto: str) -> None:
    to = destination(host, endpoint=moto, namespace="Readback", dimensions={"host": "h1", "stage": "test"})
    assert to.temporality is Temporality.delta
    assert sent(to, BATCH).verdict is Verdict.accepted
    client = boto3.client("cloudwatch", endpoint_url=moto)

    def statistics(name: str, labels: dict[str, str]) -> dict[str, Any]:
        found = client.get_metric_statistics(
            Namespace="Readback",
            MetricName=name,
            Dimensions=[{"Name": k, "Value": v} for k, v in {"host": "h1", "stage": "test", **labels}.items()],
            StartTime=NOW - 120,
            EndTime=NOW + 120,
            Period=60,
            Statistics=["Sum", "SampleCount", "Maximum"],
        )
        return dict(found["Datapoints"][0])

    assert statistics("predis_keys", {})["Sum"] == 12
    network = statistics("predis_network_bytes_total", {"direction": "in"})
    assert (network["Sum"], network["Unit"]) == (4096.5, "Bytes")
    took = statistics("predis_command_duration_seconds", {"command": "get"})
    assert took["SampleCount"] == 4
    assert took["Sum"] == pytest.approx(1.25)
    to.close()


def test_the_signature_is_right(host: Host, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    to = destination(host, endpoint=recorder.url, region="us-east-2")
    data = gzip.compress(to.encode(BATCH))
    assert to.send(Body("metrics", data, "gzip")) == Answer(Verdict.accepted)
    headers = recorder.requests[0].headers
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\d{8})/us-east-2/monitoring/aws4_request, "
        r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
        headers["authorization"],
    )
    assert found is not None
    day, names, signature = found.groups()
    assert {"host", "x-amz-date", "x-amz-target", "x-amz-security-token"} <= set(names.split(";"))
    canonical = "\n".join(
        ["POST", "/", "", *(f"{n}:{headers[n]}" for n in names.split(";")), "", names, hashlib.sha256(data).hexdigest()]
    )
    scope = f"{day}/us-east-2/monitoring/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{SECRET}".encode()
    for part in (day, "us-east-2", "monitoring", "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    assert signature == key.hex()
    assert headers["content-encoding"] == "gzip"
    assert json.loads(recorder.requests[0].body)["Namespace"] == "Predis"


NUMBERS = st.floats(min_value=-1e30, max_value=1e30, allow_subnormal=False)


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    positive = st.floats(min_value=1e-9, max_value=1e9)
    bounds = tuple(sorted(draw(st.sets(positive, min_size=1, max_size=400))))
    counts = draw(st.lists(st.integers(0, 10**6), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    shares = draw(st.floats(0, 1))
    edges = (0.0, *bounds, draw(st.floats(min_value=bounds[-1], max_value=1e12)))
    total = sum(c * (low + shares * (high - low)) for (low, high), c in zip(pairwise(edges), counts, strict=True))
    return Histogram(bounds, tuple(counts), total)


@given(histograms())
def test_a_histograms_sum_and_count_are_exact_and_it_fits(histogram: Histogram) -> None:
    values, counts = values_and_counts(histogram)
    assert len(values) == len(counts) <= 150
    assert sum(counts) == histogram.count
    assert all(counts)
    assert sum(v * c for v, c in zip(values, counts, strict=True)) == pytest.approx(histogram.sum, rel=1e-6, abs=1e-12)
    assert values == sorted(values)
    if len(values) < 150 and len(values) == sum(1 for count in histogram.counts if count):
        full = [i for i, count in enumerate(histogram.counts) if count]
        edges = (0.0, *histogram.bounds, math.inf)
        tiny = 1e-12
        for value, i in zip(values, full, strict=True):
            assert edges[i] * (1 - tiny) - tiny <= value <= edges[i + 1] * (1 + tiny) + tiny


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20).map(tuple),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_no_histogram_gives_a_number_that_cloudwatch_refuses(bounds: tuple[float, ...], total: float) -> None:
    bounds = tuple(sorted(set(bounds)))
    values, _ = values_and_counts(Histogram(bounds, (1,) * (len(bounds) + 1), total))
    for value in values:
        assert value == 0 or 8.6e-109 < abs(value) <= LARGEST


@given(st.text(max_size=512))
def test_a_label_becomes_a_dimension_that_cloudwatch_takes(label: str) -> None:
    text = dimension(label)
    if label:
        assert re.fullmatch(r"[ -~]{1,1024}", text)
        assert text.strip()
    if re.fullmatch(r"[!-~]+", label):
        assert text == label


@given(st.lists(NUMBERS | st.booleans() | st.integers(), min_size=1, max_size=20))
def test_every_value_is_json_and_keeps_its_worth(values: list[float]) -> None:
    batch = Batch("metrics", NOW, 10.0, [Series(KEYS, ())] * len(values), values)
    body = json.loads(Encoder("N", {}, 60).encode(batch))
    assert [metric["Value"] for metric in body["MetricData"]] == [v if abs(v) >= 1e-108 else 0 for v in values]


def test_a_histogram_without_observations_is_not_sent() -> None:
    nothing = Histogram((0.1,), (0, 0), 0.0)
    encoder = Encoder("N", {}, 60)
    assert encoder.encode(Batch("metrics", NOW, 10.0, [Series(TOOK, ("get",))], [nothing])) == b""
    both = Batch("metrics", NOW, 10.0, [Series(TOOK, ("get",)), Series(KEYS, ())], [nothing, 1])
    assert [metric["MetricName"] for metric in json.loads(encoder.encode(both))["MetricData"]] == ["predis_keys"]


def test_what_cannot_be_sent_has_no_lane(host: Host) -> None:
    to = destination(host, dimensions={f"d{n}": "x" for n in range(20)})
    assert to.lanes(KEYS) == ("metrics",)
    assert to.lanes(INFO) == ()  # always 1
    assert to.lanes(MetricSpec("predis_x", Kind.gauge, "X.", "", tuple(f"l{n}" for n in range(10)))) == ()
    assert to.event_lanes(Event(NOW, "cache_restarted", "The cache was started again")) == ()


def test_limits_are_amazons(host: Host) -> None:
    limits = destination(host).limits("metrics")
    assert (limits.points, limits.largest, limits.encodings) == (1000, 2.0**360, ("gzip",))
    assert limits.raw_bytes <= 1_000_000
    assert 13.9 * 86400 < limits.oldest < 14 * 86400


def test_units_are_in_amazons_list() -> None:
    model = boto3.client("cloudwatch").meta.service_model.shape_for("StandardUnit")
    specs = [spec for point in shipped_entry_points() for spec in specs_of(point)]
    assert {unit_of(spec) for spec in specs} <= set(model.enum)


def test_the_chosen_metrics_are_catalogued() -> None:
    names = {spec.name for point in shipped_entry_points() for spec in specs_of(point)}
    names |= {spec.name for spec in (*own_metrics.SPECS, *self_metrics.SPECS)}
    assert set(CHOSEN) <= names


def test_the_dashboard_asks_for_chosen_metrics_with_their_dimensions(moto: str) -> None:
    specs = {spec.name: spec for point in shipped_entry_points() for spec in specs_of(point)}
    specs |= {spec.name: spec for spec in (*own_metrics.SPECS, *self_metrics.SPECS)}
    body = json.loads((ROOT / "plugins" / "cloudwatch" / "dashboards" / "overview.json").read_text())
    for widget in body["widgets"]:
        for (metric,) in widget["properties"]["metrics"]:
            pattern = r"SEARCH\('\{Predis,host((?:,\w+)*)\} MetricName=\"(\w+)\"', '(\w+)', 60\)"
            found = re.fullmatch(pattern, metric["expression"])
            assert found is not None, metric
            assert found[2] in CHOSEN
            assert tuple(found[1].split(",")[1:]) == specs[found[2]].labels
            assert (found[3] == "Sum") == (specs[found[2]].kind is Kind.counter)
        widget["properties"]["region"] = "eu-west-1"
    client = boto3.client("cloudwatch", endpoint_url=moto)
    client.put_dashboard(DashboardName="Predis", DashboardBody=json.dumps(body))
    assert json.loads(client.get_dashboard(DashboardName="Predis")["DashboardBody"]) == body


def error(code: str, message: str = "", status: int = 400, **headers: str) -> Answer:
    body = json.dumps({"__type": f"com.amazonaws.cloudwatch.v2010_08_01#{code}", "message": message})
    return answer(status, {"Date": "Fri, 27 Nov 2026 18:00:00 GMT", **headers}, body.encode())


@pytest.mark.parametrize(
    ("code", "status", "verdict"),
    [
        ("Throttling", 400, Verdict.retry),
        ("ThrottlingException", 400, Verdict.retry),
        ("InternalServiceFault", 500, Verdict.retry),
        ("ExpiredTokenException", 403, Verdict.retry),
        ("RequestEntityTooLargeException", 413, Verdict.too_large),
        ("InvalidParameterValueException", 400, Verdict.refused),
        ("InvalidParameterCombination", 400, Verdict.refused),
        ("AccessDeniedException", 403, Verdict.refused),
        ("InvalidClientTokenId", 403, Verdict.refused),
    ],
)
def test_amazons_codes_have_their_meanings(code: str, status: int, verdict: Verdict) -> None:
    said = error(code, "why it was so", status)
    assert (said.verdict, said.reason) == (verdict, code)
    assert code in said.detail


def test_codes_come_in_xml_and_in_a_header_too() -> None:
    xml = b"<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>"
    assert answer(400, {"Retry-After": "7"}, xml) == Answer(Verdict.retry, "Throttling", "Throttling: Rate exceeded", 7)
    said = error("ThrottlingException", **{"x-amzn-query-error": "Throttling;Sender"})
    assert said.reason == "Throttling"
    assert answer(503, {}, b"<html>Service Unavailable</html>").reason == "http_503"
    assert answer(413, {}, b"").verdict is Verdict.too_large


def test_a_wrong_clock_is_called_that() -> None:
    said = error("InvalidSignatureException", "Signature expired: 20261127T170000Z is now earlier than …", 403)
    assert (said.verdict, said.reason) == (Verdict.retry, "clock_skew")
    assert re.search(r"this machine's clock is \d+ s (ahead of|behind) AWS'", said.detail)
    assert error("RequestExpired").reason == "clock_skew"


def test_without_credentials_points_wait(host: Host, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    said = sent(destination(host, endpoint=recorder.url), BATCH)
    assert (said.verdict, said.reason, said.maybe_taken) == (Verdict.retry, "no_credentials", False)
    assert "AWS_ACCESS_KEY_ID" in said.detail
    assert recorder.requests == []


def test_nobody_listening_is_a_retry(host: Host) -> None:
    said = sent(destination(host, endpoint="http://127.0.0.1:9"), BATCH)
    assert (said.verdict, said.maybe_taken) == (Verdict.retry, False)


def test_the_endpoint_is_amazons_of_the_region(host: Host) -> None:
    plugin = CloudWatch(CloudWatchConfig(enabled=True, region="ap-southeast-2"))
    plugin.predis_start(host)
    assert plugin.note == "to https://monitoring.ap-southeast-2.amazonaws.com, namespace Predis"


def test_without_a_region_it_says_where_to_write_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(CloudWatchUnusable, match=r"region.*\[plugins.cloudwatch\] region, or AWS_REGION"):
        CloudWatch(CloudWatchConfig(enabled=True)).predis_start(host)


def test_without_the_sdk_it_says_what_to_install(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'predis-agent\[cloudwatch\]'"):
        CloudWatch(CloudWatchConfig(enabled=True)).predis_start(host)


def test_the_secret_is_in_nothing_that_is_said(host: Host, recorder: Recorder) -> None:
    recorder.status = 403
    to = destination(host, endpoint=recorder.url)
    recorder.body = b'{"__type":"SignatureDoesNotMatch","message":"the signature is wrong"}'
    said = sent(to, BATCH)
    assert said.reason == "SignatureDoesNotMatch"
    assert SECRET not in repr(recorder.requests) + repr(to) + repr(vars(to))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("namespace", "AWS/EC2"),
        ("namespace", "a:b"),
        ("endpoint", "monitoring.eu-west-1.amazonaws.com"),
        ("endpoint", "https://key:secret@host"),
        ("dimensions", {":x": "1"}),
        ("dimensions", {f"d{n}": "1" for n in range(21)}),
        ("resolution", 30),
        ("compression", "zstd"),
    ],
)
def test_a_wrong_configuration_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key):
        CloudWatchConfig.model_validate({key: value})
