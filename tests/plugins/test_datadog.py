"""What goes to Datadog is what its own client understands, within its limits, whatever the labels are."""

import json
import logging
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.model_utils import ModelNormal
from datadog_api_client.v1.model.distribution_points_payload import DistributionPointsPayload
from datadog_api_client.v1.model.event_create_request import EventCreateRequest
from datadog_api_client.v1.model.service_checks import ServiceChecks
from datadog_api_client.v2.model.metric_payload import MetricPayload
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.api import Batch, Body, Event, Histogram, Kind, MetricSpec, Series, Verdict
from agent.config import load_config
from agent.metrics.catalogue import BASE_UNITS
from agent.metrics.docs import shipped_entry_points, specs_of
from agent.own_metrics import SPECS as OWN_SPECS
from agent.plugin.manager import PluginManager
from plugins.datadog.destination import PATHS, DatadogDestination, judge
from plugins.datadog.distribution import values_of
from plugins.datadog.encode import Encoder
from plugins.datadog.names import CHECKS, UNITS, is_name, tag
from plugins.datadog.plugin import Datadog, DatadogConfig, url_of
from tests.certificates import Authority
from tests.plugins.recording_server import Recorder, load_without, recording

KEY = "0123456789abcdef-canary-key"
GAUGE = MetricSpec("predis_memory_used_bytes", Kind.gauge, "Memory.", "bytes", ("tenant", "kind"))
COUNTER = MetricSpec("predis_commands_total", Kind.counter, "Commands.", labels=("command",))
LATENCY = MetricSpec("predis_command_duration_seconds", Kind.histogram, "Latency.", "seconds", ("command",))
UP = MetricSpec("predis_cache_up", Kind.gauge, "Up.")
NOW = 1_700_000_000.25
TAG = re.compile(r"[^\W\d_][\w\-:./]{0,199}")

histograms = st.lists(st.integers(-1000, 10**6).map(float), max_size=8, unique=True).flatmap(
    lambda bounds: st.builds(
        Histogram,
        st.just(tuple(sorted(bounds))),
        st.lists(st.integers(0, 5000), min_size=len(bounds) + 1, max_size=len(bounds) + 1).map(tuple),
        st.floats(-1e6, 1e9),
    )
)


def batch(lane: str, *points: tuple[Series, float | Histogram], interval: float = 10.0) -> Batch:
    series, values = zip(*points, strict=True)
    return Batch(lane, NOW, interval, series, values)


def parsed(body: bytes, model: Any) -> Any:
    """As Datadog's client reads it; what it does not know is an error."""
    client = ApiClient(Configuration(host="https://api.example.com"))
    found = client.deserialize(body.decode(), (model,), True)

    def known(value: Any) -> None:
        if isinstance(value, ModelNormal):
            assert not value._unparsed
            assert set(value._data_store) <= set(value.openapi_types), f"{type(value).__name__} has other keys, too"
            for item in value._data_store.values():
                known(item)
        elif isinstance(value, list):
            for item in value:
                known(item)

    known(found)
    return found


def destination(config: DatadogConfig) -> DatadogDestination:
    made = Datadog(config).predis_destination()
    assert isinstance(made, DatadogDestination)
    return made


def config_for(url: str, **more: object) -> DatadogConfig:
    return DatadogConfig.model_validate({"enabled": True, "api_key": KEY, "endpoint": url, "host": "box", **more})


@pytest.fixture
def encoder() -> Encoder:
    return Encoder("box", ["env:test"], 1000)


@pytest.fixture
def vendor() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


def test_gauges_and_counters_are_what_the_client_reads(encoder: Encoder) -> None:
    points = ((Series(GAUGE, ("shop", "")), 5.5), (Series(COUNTER, ("GET",)), 12.0))
    body = encoder.series(batch("series", *points))
    gauge, count = parsed(body, MetricPayload).series
    assert (gauge.metric, gauge.type.value, gauge.unit) == ("predis_memory_used_bytes", 3, "byte")
    assert [(point.timestamp, point.value) for point in gauge.points] == [(1_700_000_000, 5.5)]
    assert gauge.tags == ["env:test", "tenant:shop"]
    assert [(resource.type, resource.name) for resource in gauge.resources] == [("host", "box")]
    assert "interval" not in gauge
    assert (count.metric, count.type.value, count.interval) == ("predis_commands_total", 1, 10)
    assert [point.value for point in count.points] == [12.0]
    assert count.tags == ["env:test", "command:get"]
    assert encoder.series(batch("series", *points)) == body  # with what was prepared as without


@pytest.mark.parametrize(("interval", "written"), [(0.1, 1), (9.97, 10), (60.4, 60)])
def test_an_interval_is_a_whole_number_of_seconds_and_never_0(encoder: Encoder, interval: float, written: int) -> None:
    body = encoder.series(batch("series", (Series(COUNTER, ("GET",)), 1.0), interval=interval))
    assert parsed(body, MetricPayload).series[0].interval == written


def test_a_histogram_is_a_distribution_and_its_exact_count_and_sum(encoder: Encoder) -> None:
    series = Series(LATENCY, ("GET",))
    histogram = Histogram((0.001, 0.01, 0.1), (2, 0, 3, 1), 0.7)
    # given a histogram with few observations, then there is one value for each of them, in its bucket
    (points,) = parsed(
        encoder.distributions(batch("distributions", (series, histogram))), DistributionPointsPayload
    ).series
    assert (points.metric, points.type.value, points.host) == ("predis_command_duration_seconds", "distribution", "box")
    assert points.tags == ["env:test", "command:get"]
    ((time, values),) = (point.value for point in points.points)
    assert time == 1_700_000_000
    assert [sum(low < value <= high for value in values) for low, high in ((0, 0.001), (0.01, 0.1), (0.1, 9))] == [
        2,
        3,
        1,
    ]
    assert sum(values) == pytest.approx(histogram.sum)
    # and the numbers are there once more, as counts of other names
    count, total = parsed(encoder.series(batch("series", (series, histogram))), MetricPayload).series
    assert (count.metric, count.type.value, count.points[0].value) == ("predis_command_duration_seconds_count", 1, 6.0)
    assert (total.metric, total.type.value, total.points[0].value) == ("predis_command_duration_seconds_sum", 1, 0.7)
    assert "unit" not in count
    assert total.unit == "second"


def test_a_histogram_without_observations_says_nothing(encoder: Encoder) -> None:
    assert (
        encoder.distributions(batch("distributions", (Series(LATENCY, ("GET",)), Histogram((1.0,), (0, 0), 0.0))))
        == b""
    )


@given(histograms, st.integers(10, 3000))
def test_values_keep_the_ranks_of_the_observations(histogram: Histogram, most: int) -> None:
    values = values_of(histogram, most)
    sent = sum(times for _, times in values)
    assert sent == histogram.count or (histogram.count > most - 2 and sent <= most)
    assert [value for value, _ in values] == sorted(value for value, _ in values)
    if not sent:
        return
    seen = 0
    for index, bound in enumerate(histogram.bounds):
        seen += histogram.counts[index]
        below = sum(times for value, times in values if value <= bound)
        if histogram.counts[index + 1 :] != (0,) * (len(histogram.counts) - index - 1):
            assert abs(below / sent - seen / histogram.count) <= 3 / most
    taken = [index for index, count in enumerate(histogram.counts) if count]
    if taken[-1] < len(histogram.bounds):
        assert values[-1][0] <= histogram.bounds[taken[-1]]


@example([6.0, 2.25])
@given(st.lists(st.floats(1e-7, 20.0), min_size=1, max_size=200))
def test_the_values_mean_is_the_observations_mean(observed: list[float]) -> None:
    bounds = tuple(digit * 10.0**power for power in range(-7, 1) for digit in (1, 2, 5))
    counts = [0] * (len(bounds) + 1)
    for value in observed:
        counts[sum(bound < value for bound in bounds)] += 1
    histogram = Histogram(bounds, tuple(counts), math.fsum(observed))
    total = sum(value * times for value, times in values_of(histogram, 1000))
    assert total == pytest.approx(histogram.sum, rel=1e-5)


def test_metrics_that_say_up_or_down_are_service_checks_too(encoder: Encoder) -> None:
    redis = MetricSpec("predis_redis_up", Kind.gauge, "Up.", labels=("server",))
    points = ((Series(UP, ()), 1.0), (Series(redis, ("127.0.0.1:6379",)), 0.0))
    up, down = parsed(encoder.checks(batch("checks", *points)), ServiceChecks).value
    assert (up.check, up.status.value, up.host_name, up.timestamp) == (
        "predis.cache.can_connect",
        0,
        "box",
        1_700_000_000,
    )
    assert (down.check, down.status.value) == ("predis.redis.can_connect", 2)
    assert down.tags == ["env:test", "server:127.0.0.1:6379"]


def test_every_check_is_of_a_catalogued_gauge_and_every_unit_of_the_catalogue_has_been_thought_of() -> None:
    specs = {spec.name: spec for point in shipped_entry_points() for spec in specs_of(point)}
    specs |= {spec.name: spec for spec in OWN_SPECS}
    assert {specs[name].kind for name in CHECKS} == {Kind.gauge}
    assert set(UNITS) | {"bytes_per_second"} == BASE_UNITS


def test_an_event_is_what_the_client_reads(encoder: Encoder) -> None:
    event = Event(NOW, "cache_restarted", "The cache was restarted", "It had died.", "warning", {"Reason": "SIGKILL"})
    read = parsed(encoder.event(Batch("events", NOW, events=(event,))), EventCreateRequest)
    assert (read.title, read.text, read.alert_type.value) == ("The cache was restarted", "It had died.", "warning")
    assert (read.date_happened, read.host, read.aggregation_key) == (1_700_000_000, "box", "cache_restarted")
    assert read.tags == ["env:test", "kind:cache_restarted", "reason:sigkill"]


@given(st.text(max_size=300), st.text(max_size=5000), st.dictionaries(st.text(), st.text(), max_size=5))
def test_any_event_is_within_the_limits(title: str, text: str, attributes: dict[str, str]) -> None:
    event = Event(NOW, "kind" * 30, title, text, attributes=attributes)
    read = parsed(Encoder("box", [], 10).event(Batch("events", NOW, events=(event,))), EventCreateRequest)
    assert 0 < len(read.title) <= 100
    assert 0 < len(read.text) <= 4000
    assert len(read.aggregation_key) <= 100
    assert title[:90] in read.text or title[:90] in read.title


@given(st.one_of(st.text(), st.text(min_size=1, max_size=3).map(lambda text: text * 5000)))
def test_any_label_becomes_a_tag(value: str) -> None:
    made = tag("label", value)
    assert TAG.fullmatch(made), made
    assert made == made.lower()
    assert made.startswith("label:")
    assert not made.endswith((":", "_"))


def test_long_values_that_differ_at_their_end_stay_apart() -> None:
    assert tag("path", "x" * 10_000 + "a") != tag("path", "x" * 10_000 + "b")


@given(
    st.lists(
        st.tuples(
            st.one_of(st.text(max_size=20), st.just("é" * 10_000), st.just('"\\\n\0')),
            st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**63), 2**64), st.booleans()),
            histograms,
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_body_is_valid_whatever_the_labels_and_values(rows: list[tuple[str, float, Histogram]]) -> None:
    encoder = Encoder('bö"x', ["env:test"], 1000)
    numbers = [
        (Series(spec, (text,) * len(spec.labels)), value) for text, value, _ in rows for spec in (GAUGE, COUNTER)
    ]
    hists = [(Series(LATENCY, (text,)), value) for text, _, value in rows]
    series = json.loads(encoder.series(batch("series", *numbers, *hists)))["series"]
    assert len(series) == 4 * len(rows)
    for number, (_, value) in zip(series, numbers, strict=False):
        assert number["points"][0]["value"] == float(value)
    for entry in series:
        assert is_name(entry["metric"])
        assert all(TAG.fullmatch(each) for each in entry["tags"])
        assert entry["resources"] == [{"type": "host", "name": 'bö"x'}]
    body = encoder.distributions(batch("distributions", *hists))
    for entry in json.loads(body)["series"] if body else []:
        values = entry["points"][0][1]
        assert 0 < len(values) <= 1000
        assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def test_the_lanes_of_each_kind_and_none_for_a_name_that_datadog_does_not_take() -> None:
    made = destination(config_for("http://127.0.0.1:1"))
    assert [list(made.lanes(spec)) for spec in (GAUGE, COUNTER, LATENCY, UP)] == [
        ["series"], ["series"], ["distributions", "series"], ["series", "checks"],
    ]  # fmt: skip
    long = "predis_" + "a" * 187
    assert made.lanes(MetricSpec(long, Kind.histogram, "Long.")) == ("distributions", "series")
    assert made.lanes(MetricSpec(long + "a", Kind.histogram, "Longer.")) == ()
    assert made.lanes(MetricSpec(long + "a", Kind.gauge, "Longer.")) == ("series",)
    assert made.lanes(MetricSpec(long + "a" * 7, Kind.gauge, "Too long.")) == ()
    assert made.event_lanes(Event(NOW, "kind", "title")) == ("events",)
    assert made.event_lanes(Event(NOW, "kind", "title", duration=1.0)) == ()


def test_full_batches_of_usual_series_are_within_the_bytes() -> None:
    made = destination(config_for("http://127.0.0.1:1"))
    bounds = tuple(digit * 10.0**power for power in range(-6, 1) for digit in (1, 2, 5))
    busy = Histogram(bounds, (100,) * (len(bounds) + 1), (0.8 * sum(bounds) + 2 * bounds[-1]) * 100)
    for lane, spec, value in (("series", GAUGE, 0.1), ("series", LATENCY, busy), ("distributions", LATENCY, busy)):
        limits = made.limits(lane)
        series = [Series(spec, tuple(f"{label}-{number}" for label in spec.labels)) for number in range(limits.points)]
        body = made.encode(Batch(lane, NOW, 10.0, series, [value] * limits.points))
        assert len(body) <= limits.raw_bytes
        assert len(zlib.compress(body, 1)) <= limits.compressed_bytes


@pytest.mark.parametrize(
    ("lane", "encoding", "named"),
    [
        ("series", "gzip", "gzip"),
        ("series", "zstd", "zstd1"),
        ("distributions", "deflate", "deflate"),
        ("checks", "", ""),
    ],
)
def test_a_request_has_its_path_its_key_and_says_how_it_is_compressed(
    vendor: Recorder, lane: str, encoding: str, named: str
) -> None:
    from agent.export.batch import compressor

    made = destination(config_for(vendor.url + "/"))
    answer = made.send(Body(lane, compressor(encoding)(b'{"series":[]}'), encoding))
    made.close()
    assert answer.verdict is Verdict.accepted
    (request,) = vendor.requests
    assert request.path == PATHS[lane]
    assert request.body == b'{"series":[]}'
    assert request.headers["dd-api-key"] == KEY
    assert request.headers["content-type"] == "application/json"
    assert request.headers.get("content-encoding", "") == named


@pytest.mark.parametrize(
    ("status", "headers", "verdict", "retry_after"),
    [
        (202, {}, Verdict.accepted, None),
        (400, {}, Verdict.refused, None),
        (401, {}, Verdict.refused, None),
        (403, {}, Verdict.refused, None),
        (404, {}, Verdict.refused, None),
        (408, {}, Verdict.retry, None),
        (413, {}, Verdict.too_large, None),
        (429, {"X-RateLimit-Reset": "7", "X-RateLimit-Period": "60"}, Verdict.retry, 7.0),
        (429, {"x-ratelimit-period": "60"}, Verdict.retry, 60.0),
        (429, {"X-RateLimit-Reset": "soon"}, Verdict.retry, None),
        (429, {"Retry-After": "3", "X-RateLimit-Reset": "7"}, Verdict.retry, 3.0),
        (500, {}, Verdict.retry, None),
        (503, {"Retry-After": "11"}, Verdict.retry, 11.0),
    ],
)
def test_what_the_answers_mean(
    vendor: Recorder, status: int, headers: dict[str, str], verdict: Verdict, retry_after: float | None
) -> None:
    vendor.status, vendor.headers, vendor.body = status, headers, f'{{"errors":["no: {KEY}"]}}'.encode()
    made = destination(config_for(vendor.url))
    answer = made.send(Body("series", b"{}", ""))
    made.close()
    assert (answer.verdict, answer.retry_after) == (verdict, retry_after)
    assert len(vendor.requests) == 1  # once, whatever the answer
    assert KEY not in repr(answer)
    if status == 403:
        assert "api_key" in answer.detail
        assert answer.reason == "http_403"


def test_complaints_in_an_answer_with_success_are_told() -> None:
    answer = judge(202, {}, b'{"errors":["1 point was too old"]}')
    assert (answer.verdict, answer.detail) == (Verdict.accepted, "1 point was too old")
    assert judge(202, {}, b'{"errors":[]}').detail == ""
    assert judge(202, {}, b"[]").detail == ""
    assert judge(202, {}, b"\xff").detail == ""


def test_tls_is_verified_with_the_ca_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    stranger = Authority(tmp_path, "stranger")
    with recording(authority.issue("server")) as recorder:
        for cert, verdict in ((authority.cert, Verdict.accepted), (stranger.cert, Verdict.retry)):
            made = destination(config_for(recorder.url, ca_file=str(cert)))
            answer = made.send(Body("series", b"{}", ""))
            made.close()
            assert answer.verdict is verdict
        assert (answer.reason, answer.maybe_taken) == ("tls", False)
        assert len(recorder.requests) == 1


def test_the_key_is_nowhere_to_be_seen(vendor: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = config_for(vendor.url)
    plugin = Datadog(config)
    made = destination(config)
    vendor.status = 500
    made.send(Body("series", b"{}", ""))
    dead = destination(config_for("http://127.0.0.1:9"))
    answer = dead.send(Body("series", b"{}", ""))
    assert answer.verdict is Verdict.retry
    shown = [repr(config), str(config), repr(plugin), plugin.note, repr(made), repr(answer), caplog.text]
    assert [text for text in shown if KEY in text] == []
    with pytest.raises(ValidationError) as refused:
        config_for(vendor.url, api_key=f"{KEY}\nX-Other: 1")
    assert KEY not in str(refused.value)
    for each in (made, dead):
        each.close()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("endpoint", "datadog.example.com"), ("endpoint", "https://user:pass@example.com"), ("endpoint", "ftp://a"),
        ("endpoint", "https://example.com/?api_key=x"), ("site", "https://datadoghq.eu"), ("site", "eu"),
        ("tags", ["production"]), ("tags", ["1:2"]), ("tags", ["env:"]), ("distribution_values", 9), ("api_key", ""),
        ("api_key", "two words"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        config_for("https://example.com", **{key: value})


@pytest.mark.parametrize("site", ["datadoghq.com", "datadoghq.eu", "us5.datadoghq.com", "new.example.com"])
def test_a_sites_api_is_where_the_client_would_look(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_SITE", "somewhere.else.example.com")  # of somebody's Datadog Agent, not ours
    assert url_of(site) == f"https://api.{site}"


def test_a_missing_client_is_told_when_the_plugin_is_enabled_and_only_then(tmp_path: Path) -> None:
    enabled = "plugins.datadog.enabled=true"
    problems, _ = load_without(tmp_path, "datadog", "datadog_api_client", enabled, f"plugins.datadog.api_key={KEY}")
    assert "pip install 'predis-agent[datadog]'" in problems
    problems, imported = load_without(tmp_path, "datadog", "datadog_api_client", "plugins.datadog.enabled=false")
    assert (problems, imported) == ("[]", "[]")
    problems, _ = load_without(tmp_path, "datadog", "nothing")  # no table at all: not enabled either
    assert problems == "[]"


def test_a_missing_key_is_told_with_its_mend() -> None:
    manager = PluginManager(load_config(None, ("plugins.datadog.enabled=true",), {}))
    manager.load()
    (problem,) = manager.plugins["datadog"].problems
    assert "api_key is missing" in problem.what + problem.mend
    assert "${env:DD_API_KEY}" in problem.what + problem.mend
