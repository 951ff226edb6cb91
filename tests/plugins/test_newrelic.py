"""What goes to New Relic is what its SDK would send, within its limits, whatever the labels are."""

import gzip
import json
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from newrelic_telemetry_sdk import CountMetric, GaugeMetric, SummaryMetric
from pydantic import ValidationError

from agent.api import Batch, Body, Event, Histogram, Kind, MetricSpec, Series, Verdict
from agent.config import load_config
from agent.plugin.manager import PluginManager
from plugins.newrelic.attributes import attribute_name, attributes_of
from plugins.newrelic.destination import NewRelicDestination
from plugins.newrelic.encode import EVENT_TYPE, Encoder
from plugins.newrelic.plugin import NewRelic, NewRelicConfig, urls_of
from plugins.newrelic.summary import summary_of
from tests.certificates import Authority
from tests.plugins.recording_server import Recorder, load_without, recording

KEY = "eu01xx-canary-license-key-NRAL"
GAUGE = MetricSpec("predis_memory_used_bytes", Kind.gauge, "Memory.", "bytes", ("tenant", "kind"))
COUNTER = MetricSpec("predis_commands_total", Kind.counter, "Commands.", labels=("command",))
LATENCY = MetricSpec("predis_command_duration_seconds", Kind.histogram, "Latency.", "seconds", ("command",))
NOW = 1_700_000_000.25
NAME = re.compile(r"[A-Za-z0-9:._]{1,255}")

histograms = st.lists(st.integers(-1000, 10**6).map(float), max_size=8, unique=True).flatmap(
    lambda bounds: st.builds(
        Histogram,
        st.just(tuple(sorted(bounds))),
        st.lists(st.integers(0, 5000), min_size=len(bounds) + 1, max_size=len(bounds) + 1).map(tuple),
        st.floats(-1e6, 1e9),
    )
)


def batch(*points: tuple[Series, float | Histogram], interval: float = 10.0) -> Batch:
    series, values = zip(*points, strict=True)
    return Batch("metrics", NOW, interval, series, values)


def merged(body: bytes) -> list[dict[str, Any]]:
    """The metrics of a body, each with what its block shares."""
    found = []
    for block in json.loads(body):
        assert set(block) == {"common", "metrics"}
        shared = block["common"]
        for metric in block["metrics"]:
            own = {**{key: value for key, value in shared.items() if key != "attributes"}, **metric}
            own["attributes"] = {**shared["attributes"], **metric["attributes"]}
            found.append(own)
    return found


def destination(config: NewRelicConfig) -> NewRelicDestination:
    made = NewRelic(config).predis_destination()
    assert isinstance(made, NewRelicDestination)
    return made


def config_for(url: str, **more: object) -> NewRelicConfig:
    own = {"enabled": True, "license_key": KEY, "endpoint": url, "host": "box", "account_id": "12345"}
    return NewRelicConfig.model_validate({**own, **more})


@pytest.fixture
def encoder() -> Encoder:
    return Encoder({"host.name": "box"}, False)


@pytest.fixture
def vendor() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


def test_metrics_are_what_the_sdk_would_send(encoder: Encoder) -> None:
    histogram = Histogram((0.001, 0.01, 0.1), (2, 0, 3, 0), 0.2)
    points = (
        (Series(GAUGE, ("shop", "")), 5.5),
        (Series(COUNTER, ("GET",)), 12.0),
        (Series(LATENCY, ("GET",)), histogram),
    )
    end = round(NOW * 1000)
    expected = [
        GaugeMetric(GAUGE.name, 5.5, {"host.name": "box", "tenant": "shop"}, end) | {"type": "gauge"},
        CountMetric(COUNTER.name, 12.0, 10_000, {"host.name": "box", "command": "GET"}, end),
        SummaryMetric(LATENCY.name, 5, 0.2, 0.0, 0.1, 10_000, {"host.name": "box", "command": "GET"}, end),
    ]
    body = encoder.metrics(batch(*points))
    assert merged(body) == expected
    assert encoder.metrics(batch(*points)) == body  # with what was prepared as without


@pytest.mark.parametrize(("interval", "written"), [(0.0, 1), (0.25, 250), (9.9996, 10_000)])
def test_an_interval_is_whole_milliseconds_and_never_0(encoder: Encoder, interval: float, written: int) -> None:
    (count,) = merged(encoder.metrics(batch((Series(COUNTER, ("GET",)), 1.0), interval=interval)))
    assert count["interval.ms"] == written
    assert count["timestamp"] + written == round(NOW * 1000)


def test_a_histogram_without_observations_says_nothing(encoder: Encoder) -> None:
    empty = Histogram((1.0,), (0, 0), 0.0)
    assert encoder.metrics(batch((Series(LATENCY, ("GET",)), empty))) == b""


def test_buckets_are_counts_that_add_up_as_prometheus_has_them() -> None:
    encoder = Encoder({}, True)
    series = Series(LATENCY, ("GET",))
    histogram = Histogram((0.001, 0.01), (2, 0, 3), 0.2)
    summary, *buckets = merged(encoder.metrics(batch((series, histogram))))
    assert summary["type"] == "summary"
    assert [(bucket["name"], bucket["attributes"]["le"], bucket["value"]) for bucket in buckets] == [
        ("predis_command_duration_seconds_bucket", "0.001", 2),
        ("predis_command_duration_seconds_bucket", "0.01", 2),
        ("predis_command_duration_seconds_bucket", "+Inf", 5),
    ]
    # and when the bounds are others, so are the buckets
    others = merged(encoder.metrics(batch((series, Histogram((1.0,), (1, 0), 0.5)))))
    assert [bucket["attributes"]["le"] for bucket in others[1:]] == ["1.0", "+Inf"]


@given(histograms)
def test_a_summarys_minimum_mean_and_maximum_are_in_order(histogram: Histogram) -> None:
    summary = summary_of(histogram)
    if histogram.count == 0:
        assert summary is None
        return
    assert summary is not None
    count, total, least, greatest = summary
    assert (count, total) == (histogram.count, histogram.sum)
    assert least <= total / count <= greatest


@given(st.lists(st.floats(1e-7, 20.0), min_size=1, max_size=100))
def test_minimum_and_maximum_are_off_by_one_bucket_at_most(observed: list[float]) -> None:
    bounds = tuple(digit * 10.0**power for power in range(-7, 1) for digit in (1, 2, 5))
    counts = [0] * (len(bounds) + 1)
    for value in observed:
        counts[sum(bound < value for bound in bounds)] += 1
    summary = summary_of(Histogram(bounds, tuple(counts), math.fsum(observed)))
    assert summary is not None
    _, _, least, greatest = summary
    assert least <= min(observed) * (1 + 1e-9)
    assert max(observed) <= greatest * (1 + 1e-9) or max(observed) > bounds[-1]
    if max(observed) > bounds[-1]:
        assert bounds[-1] <= greatest


@given(
    st.lists(
        st.tuples(
            st.one_of(st.text(max_size=20), st.just("é" * 10_000), st.just('"\\\n\0')),
            st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64), st.booleans()),
            histograms,
        ),
        min_size=1,
        max_size=20,
    ),
    st.booleans(),
)
def test_every_body_is_valid_whatever_the_labels_and_values(
    rows: list[tuple[str, float, Histogram]], buckets: bool
) -> None:
    encoder = Encoder({"host.name": 'bö"x', "no good name!": "yes"}, buckets)
    points = [
        (Series(spec, (text,) * len(spec.labels)), number if spec is not LATENCY else histogram)
        for text, number, histogram in rows
        for spec in (GAUGE, COUNTER, LATENCY)
    ]
    for metric in merged(encoder.metrics(batch(*points))):
        assert set(metric) <= {"name", "type", "value", "timestamp", "interval.ms", "attributes"}
        assert ("interval.ms" in metric) == (metric["type"] in ("count", "summary"))
        assert isinstance(metric["timestamp"], int)
        value = metric["value"]
        numbers = value.values() if metric["type"] == "summary" else [value]
        assert all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers)
        attributes = metric["attributes"]
        assert attributes["host.name"] == 'bö"x'
        assert attributes["no_good_name_"] == "yes"
        assert all(NAME.fullmatch(name) and 0 < len(text) <= 4096 for name, text in attributes.items())


@given(st.text(max_size=400))
def test_any_text_becomes_an_attributes_name(text: str) -> None:
    name = attribute_name(text)
    assert NAME.fullmatch(name)
    assert not name.lower().startswith(("nr.", "newrelic"))
    assert name.lower() not in ("timestamp", "accountid", "eventtype")


def test_long_values_that_differ_at_their_end_stay_apart() -> None:
    first, second = (attributes_of({"path": "x" * 10_000 + end}, 1)["path"] for end in "ab")
    assert first != second
    assert len(first) == len(second) == 4096


def test_an_event_is_an_event_of_our_type(encoder: Encoder) -> None:
    given_attributes = {"reason": "SIGKILL", "title": "not the title", "timestamp": "then", "empty": ""}
    event = Event(NOW, "cache_restarted", "The cache was restarted", "It had died.", "warning", given_attributes)
    (read,) = json.loads(encoder.events(Batch("events", NOW, events=(event,))))
    assert read == {
        "eventType": EVENT_TYPE,
        "timestamp": round(NOW * 1000),
        "kind": "cache_restarted",
        "title": "The cache was restarted",
        "text": "It had died.",
        "severity": "warning",
        "host.name": "box",
        "reason": "SIGKILL",
        "predis.title": "not the title",
        "predis.timestamp": "then",
    }


def test_an_event_with_a_duration_is_a_span(encoder: Encoder) -> None:
    trace, parent, own = "ab" * 16, "cd" * 8, "ef" * 8
    whole = Event(NOW, "incident", "Slow", "p99 of 80 ms", "error", {}, 12.5, trace, own)
    part = Event(NOW + 1, "remediation", "Restart", duration=0.0005, trace_id=trace, parent_id=parent)
    (block,) = json.loads(encoder.spans(Batch("traces", NOW, events=(whole, part))))
    assert block["common"] == {"attributes": {"host.name": "box"}}
    first, second = block["spans"]
    assert (first["id"], first["trace.id"], first["timestamp"]) == (own, trace, round(NOW * 1000))
    assert first["attributes"]["name"] == "Slow"
    assert first["attributes"]["duration.ms"] == 12_500
    assert first["attributes"]["error.message"] == "p99 of 80 ms"
    assert first["attributes"]["service.name"] == "predis-agent"
    assert "parent.id" not in first["attributes"]
    assert second["attributes"]["parent.id"] == parent
    assert second["attributes"]["duration.ms"] == 0.5
    assert "error.message" not in second["attributes"]
    # and what has no id has the same one whenever it is written
    (again,) = json.loads(encoder.spans(Batch("traces", NOW, events=(part,))))[0]["spans"]
    assert again == second
    assert re.fullmatch("[0-9a-f]{16}", second["id"])


@given(st.text(max_size=300), st.dictionaries(st.text(), st.text(max_size=9000), max_size=8))
def test_any_event_is_within_the_limits(text: str, attributes: dict[str, str]) -> None:
    many = {**attributes, **{f"more_{number}": "x" for number in range(300)}}
    encoder = Encoder({"host.name": "box"}, False)
    event = Event(NOW, "kind", text, text * 50, attributes=many)
    span = Event(NOW, "kind", text, text * 50, attributes=many, duration=1.0)
    (read,) = json.loads(encoder.events(Batch("events", NOW, events=(event,))))
    (block,) = json.loads(encoder.spans(Batch("traces", NOW, events=(span,))))
    for found in (read, block["spans"][0]["attributes"]):
        assert len(found) <= 254
        assert all(NAME.fullmatch(name) for name in found)
        assert all(len(value) <= 4096 for value in found.values() if isinstance(value, str))


def test_the_lanes_of_metrics_and_events() -> None:
    made = destination(config_for("http://127.0.0.1:1"))
    assert made.lanes(GAUGE) == made.lanes(LATENCY) == ("metrics",)
    assert made.lanes(MetricSpec("predis_" + "a" * 249, Kind.gauge, "Too long.")) == ()
    assert made.lanes(MetricSpec("predis_" + "a" * 242, Kind.histogram, "Its buckets are too long.")) == ()
    labels = tuple(f"label_{number}" for number in range(149))
    assert made.lanes(MetricSpec("predis_a", Kind.gauge, "Many.", labels=labels)) == ()
    assert made.lanes(MetricSpec("predis_a", Kind.gauge, "Many.", labels=labels[:-1])) == ("metrics",)
    assert made.event_lanes(Event(NOW, "kind", "title")) == ("events",)
    assert made.event_lanes(Event(NOW, "kind", "title", duration=1.0)) == ("traces",)
    # and without an account there is no place for events
    without_account = destination(config_for("http://127.0.0.1:1", account_id=""))
    assert without_account.event_lanes(Event(NOW, "kind", "title")) == ()
    assert without_account.event_lanes(Event(NOW, "kind", "title", duration=1.0)) == ("traces",)
    assert "no events" in NewRelic(config_for("http://127.0.0.1:1", account_id="")).note


def test_full_batches_of_usual_series_are_within_the_bytes() -> None:
    made = destination(config_for("http://127.0.0.1:1"))
    for spec, value in ((GAUGE, 0.1), (COUNTER, 123456.0)):
        limits = made.limits("metrics")
        series = [Series(spec, tuple(f"{label}-{number}" for label in spec.labels)) for number in range(limits.points)]
        body = made.encode(Batch("metrics", NOW, 10.0, series, [value] * limits.points))
        assert len(body) <= limits.raw_bytes
        assert len(gzip.compress(body, 1)) <= limits.compressed_bytes


@pytest.mark.parametrize(
    ("lane", "path"), [("metrics", "/metric/v1"), ("events", "/v1/accounts/12345/events"), ("traces", "/trace/v1")]
)
def test_a_request_has_its_path_and_its_key(vendor: Recorder, lane: str, path: str) -> None:
    made = destination(config_for(vendor.url + "/"))
    for text in (b"[1]", b"[1]", b"[2]"):
        answer = made.send(Body(lane, gzip.compress(text, mtime=0), "gzip"))
        assert answer.verdict is Verdict.accepted
    made.close()
    first, again, other = vendor.requests
    assert (first.path, first.body) == (path, b"[1]")
    assert first.headers["api-key"] == KEY
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["content-type"] == "application/json"
    assert (first.headers.get("data-format"), first.headers.get("data-format-version")) == (
        ("newrelic", "1") if lane == "traces" else (None, None)
    )
    # the same body can be told from another one
    assert first.headers["x-request-id"] == again.headers["x-request-id"] != other.headers["x-request-id"]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, Verdict.refused) for status in (400, 401, 403, 404, 405, 409, 410, 411)),
        (202, Verdict.accepted),
        (408, Verdict.retry),
        (413, Verdict.too_large),
        (429, Verdict.retry),
        (500, Verdict.retry),
        (503, Verdict.retry),
    ],
)
def test_what_the_answers_mean(vendor: Recorder, status: int, verdict: Verdict) -> None:
    vendor.status, vendor.body = status, f'{{"error":"no: {KEY}"}}'.encode()
    vendor.headers = {"Retry-After": "13"} if status == 429 else {}
    made = destination(config_for(vendor.url))
    answer = made.send(Body("metrics", b"[]", ""))
    made.close()
    assert (answer.verdict, answer.retry_after) == (verdict, 13.0 if status == 429 else None)
    assert len(vendor.requests) == 1  # once, whatever the answer
    assert KEY not in repr(answer)
    if status == 403:
        assert "license_key" in answer.detail
        assert answer.reason == "http_403"


def test_tls_is_verified_with_the_ca_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    stranger = Authority(tmp_path, "stranger")
    with recording(authority.issue("server")) as recorder:
        for cert, verdict in ((authority.cert, Verdict.accepted), (stranger.cert, Verdict.retry)):
            made = destination(config_for(recorder.url, ca_file=str(cert)))
            answer = made.send(Body("metrics", b"[]", ""))
            made.close()
            assert answer.verdict is verdict
        assert (answer.reason, answer.maybe_taken) == ("tls", False)
        assert len(recorder.requests) == 1


def test_the_key_is_nowhere_to_be_seen(vendor: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = config_for(vendor.url)
    plugin = NewRelic(config)
    made = destination(config)
    vendor.status = 500
    made.send(Body("metrics", b"[]", ""))
    dead = destination(config_for("http://127.0.0.1:9"))
    answer = dead.send(Body("metrics", b"[]", ""))
    assert answer.verdict is Verdict.retry
    shown = [repr(config), str(config), repr(plugin), plugin.note, repr(made), repr(answer), caplog.text]
    assert [text for text in shown if KEY in text] == []
    assert KEY not in vendor.requests[0].path
    with pytest.raises(ValidationError) as refused:
        config_for(vendor.url, license_key=f"{KEY}\nX-Other: 1")
    assert KEY not in str(refused.value)
    for each in (made, dead):
        each.close()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint", "newrelic.example.com"), ("endpoint", "https://user:pass@example.com"), ("endpoint", "ftp://a"),
        ("region", "jp"), ("account_id", "12a"), ("license_key", ""), ("license_key", "two words"),
        ("attributes", {f"name_{number}": "x" for number in range(51)}),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        config_for("https://example.com", **{key: value})


def test_where_things_go_in_each_region() -> None:
    assert urls_of("us", "", "7") == {
        "metrics": "https://metric-api.newrelic.com/metric/v1",
        "events": "https://insights-collector.newrelic.com/v1/accounts/7/events",
        "traces": "https://trace-api.newrelic.com/trace/v1",
    }
    assert urls_of("eu", "", "7") == {
        "metrics": "https://metric-api.eu.newrelic.com/metric/v1",
        "events": "https://insights-collector.eu01.nr-data.net/v1/accounts/7/events",
        "traces": "https://trace-api.eu.newrelic.com/trace/v1",
    }
    assert set(urls_of("eu", "https://proxy:1/nr/", "").values()) == {
        "https://proxy:1/nr/metric/v1",
        "https://proxy:1/nr/trace/v1",
    }


def test_a_missing_sdk_is_told_when_the_plugin_is_enabled_and_only_then(tmp_path: Path) -> None:
    enabled = "plugins.newrelic.enabled=true"
    problems, _ = load_without(
        tmp_path, "newrelic", "newrelic_telemetry_sdk", enabled, f"plugins.newrelic.license_key={KEY}"
    )
    assert "pip install 'predis-agent[newrelic]'" in problems
    problems, imported = load_without(tmp_path, "newrelic", "newrelic_telemetry_sdk", "plugins.newrelic.enabled=false")
    assert (problems, imported) == ("[]", "[]")


def test_a_missing_key_is_told_with_its_mend() -> None:
    manager = PluginManager(load_config(None, ("plugins.newrelic.enabled=true",), {}))
    manager.load()
    (problem,) = manager.plugins["newrelic"].problems
    assert "license_key is missing" in problem.what + problem.mend
    assert "${env:NEW_RELIC_LICENSE_KEY}" in problem.what + problem.mend
