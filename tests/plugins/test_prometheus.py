"""The exporter serves the newest snapshot in both formats, quickly, and gives its port back."""

import gzip
import http.client
import math
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text_format
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_format
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent import own_metrics
from agent.api import Exemplar, Histogram, Host, Kind, MetricSpec, Sample, Snapshot
from agent.metrics import self_metrics
from agent.metrics.catalogue import Catalogue
from agent.metrics.docs import shipped_entry_points, specs_of
from agent.metrics.pipeline import Pipeline
from plugins.prometheus.accept import Format
from plugins.prometheus.plugin import CannotListen, Prometheus, PrometheusConfig
from plugins.prometheus.scrape import Newest
from tests.plugins.conftest import Collect
from tests.waiting import wait_until

FORMATS = (Format.text, Format.openmetrics)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SPECS = (
    MetricSpec("predis_shelf_bytes", Kind.gauge, 'Room on a shelf: "a\\b".', "bytes", ("shelf", "kind")),
    MetricSpec("predis_visits_total", Kind.counter, "Visits."),
    MetricSpec("predis_visit_duration_seconds", Kind.histogram, "How long visits are.", "seconds", ("shop",)),
    MetricSpec("predis_shop_info", Kind.info, "Which shop this is.", "", ("town",)),
)
SAMPLES = (
    Sample("predis_shelf_bytes", 3, ('to"p\\\n', "œuvre")),
    Sample("predis_shelf_bytes", 2.5e-7, ("low", "")),
    Sample("predis_visits_total", 2**53 - 1),
    Sample("predis_visit_duration_seconds", Histogram((1e-6, 0.5, 10.0), (1, 2, 0, 3), 44.25), ("a",)),
    Sample("predis_visit_duration_seconds", Histogram((1e-6, 0.5, 10.0), (0, 0, 0, 0), 0.0), ("b",)),
    Sample("predis_shop_info", 1, ("Delft",)),
)
EXEMPLARS = (
    Exemplar((("slowlog_id", "7"),), 0.25, 1_700_000_000.0),
    Exemplar((("slowlog_id", "6"),), 0.3, 1_699_999_999.5),
    Exemplar((("b", "two"), ("a", "one")), 1e9, 1_700_000_001.25),
    Exemplar((), 0.0, 1.0),
)
WITH_EXEMPLARS = Sample(
    "predis_visit_duration_seconds", Histogram((1e-6, 0.5, 10.0), (1, 2, 0, 3), 44.25, EXEMPLARS), ("a",)
)


def snapshot_of(*samples: Sample) -> Snapshot:
    catalogue = Catalogue()
    catalogue.add("shop", SPECS)
    pipeline = Pipeline(catalogue, strict=True)
    pipeline.register("shop", max_series=100_000)
    pipeline.accept("shop", samples)
    return pipeline.snapshot()


@pytest.fixture
def plugin(host: Host) -> Iterator[Prometheus]:
    made = Prometheus(PrometheusConfig(port=0))
    made.predis_start(host)
    yield made
    made.predis_stop()


def get(plugin: Prometheus, path: str = "/metrics", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", plugin.port, timeout=10)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    assert response.status == 200
    return response, body


EXPECTED = {
    ("predis_shelf_bytes", ("kind", "œuvre"), ("shelf", 'to"p\\\n')): 3,
    ("predis_shelf_bytes", ("kind", ""), ("shelf", "low")): 2.5e-7,
    ("predis_visits_total",): 2**53 - 1,
    ("predis_visit_duration_seconds_bucket", ("le", "1e-06"), ("shop", "a")): 1,
    ("predis_visit_duration_seconds_bucket", ("le", "0.5"), ("shop", "a")): 3,
    ("predis_visit_duration_seconds_bucket", ("le", "10.0"), ("shop", "a")): 3,
    ("predis_visit_duration_seconds_bucket", ("le", "+Inf"), ("shop", "a")): 6,
    ("predis_visit_duration_seconds_count", ("shop", "a")): 6,
    ("predis_visit_duration_seconds_sum", ("shop", "a")): 44.25,
    ("predis_visit_duration_seconds_bucket", ("le", "1e-06"), ("shop", "b")): 0,
    ("predis_visit_duration_seconds_bucket", ("le", "0.5"), ("shop", "b")): 0,
    ("predis_visit_duration_seconds_bucket", ("le", "10.0"), ("shop", "b")): 0,
    ("predis_visit_duration_seconds_bucket", ("le", "+Inf"), ("shop", "b")): 0,
    ("predis_visit_duration_seconds_count", ("shop", "b")): 0,
    ("predis_visit_duration_seconds_sum", ("shop", "b")): 0,
    ("predis_shop_info", ("town", "Delft")): 1,
}


def test_the_text_format_has_every_series_with_help_and_type(plugin: Prometheus) -> None:
    plugin.predis_export(snapshot_of(*SAMPLES))
    response, body = get(plugin)
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = list(parse_text(body.decode()))
    assert {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples} == EXPECTED
    types = {family.name: family.type for family in families}
    assert types["predis_visit_duration_seconds"] == "histogram"
    assert types["predis_visits"] == "counter"
    assert all(family.documentation for family in families)


def test_openmetrics_is_served_to_who_asks_for_it_and_is_valid(plugin: Prometheus) -> None:
    plugin.predis_export(snapshot_of(*SAMPLES))
    response, body = get(plugin, Accept=f"{OPENMETRICS},text/plain;version=0.0.4;q=0.5")
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    families = list(parse_openmetrics(body.decode()))  # raises where the format is violated
    assert {(s.name, *sorted(s.labels.items())): s.value for f in families for s in f.samples} == EXPECTED
    assert {f.name: (f.type, f.unit) for f in families} == {
        "predis_shelf_bytes": ("gauge", "bytes"),
        "predis_visits": ("counter", ""),
        "predis_visit_duration_seconds": ("histogram", "seconds"),
        "predis_shop": ("info", ""),
    }


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_a_label_or_a_value_is_it_comes_through_both_formats(label: str, value: float) -> None:
    newest = Newest(stale_after=60.0)
    newest.show(snapshot_of(Sample("predis_shelf_bytes", value, (label, "x"))))
    for openmetrics, parse in ((False, parse_text), (True, parse_openmetrics)):
        page = newest.page(FORMATS[openmetrics], compressed=False)
        (family,) = parse(page.decode())
        (sample,) = family.samples
        assert (sample.labels["shelf"], sample.value) == (label, value)
        assert page == written_by_the_client(newest, openmetrics)


def written_by_the_client(newest: Newest, openmetrics: bool) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(newest)
    return bytes((openmetrics_format if openmetrics else text_format)(registry))


def test_a_page_is_what_prometheus_client_writes_whatever_changed_since_the_last(plugin: Prometheus) -> None:
    newest = Newest(stale_after=60.0)
    quoted = Exemplar((("id", 'quo"te\\\n'),), 0.25, 9.0)  # which prometheus_client writes and cannot read
    with_quotes = Sample("predis_visit_duration_seconds", Histogram((0.5,), (1, 2), 44.25, (quoted,)), ("b",))
    other_bounds = Sample("predis_visit_duration_seconds", Histogram((2.5e7,), (4, 1), 1e12), ("a",))
    turns = [
        SAMPLES,
        SAMPLES,
        tuple(reversed(SAMPLES)),
        (*SAMPLES[:3], other_bounds, SAMPLES[5]),
        SAMPLES,
        (*SAMPLES[:3], other_bounds, *SAMPLES[4:]),
        (SAMPLES[0], WITH_EXEMPLARS, with_quotes),
        (Sample("predis_shelf_bytes", -1e9, ("top", "x")), *SAMPLES),
        (Sample("predis_visits_total", True),),
        (),
        SAMPLES,
    ]
    for samples in turns:
        newest.show(snapshot_of(*samples))
        for openmetrics in (False, True):
            assert newest.page(FORMATS[openmetrics], compressed=False) == written_by_the_client(newest, openmetrics)
    renamed = MetricSpec("predis_visits_total", Kind.counter, "Another\\help.\n")
    newest.show(Snapshot(1.0, {("predis_visits_total", ()): SAMPLES[2]}, {"predis_visits_total": renamed}))
    for openmetrics in (False, True):
        assert newest.page(FORMATS[openmetrics], compressed=False) == written_by_the_client(newest, openmetrics)


def test_openmetrics_has_the_newest_exemplar_of_each_bucket_and_the_text_format_none(plugin: Prometheus) -> None:
    plugin.predis_export(snapshot_of(WITH_EXEMPLARS))
    (family,) = parse_openmetrics(get(plugin, Accept=OPENMETRICS)[1].decode())
    found = {sample.labels["le"]: sample.exemplar for sample in family.samples if sample.exemplar}
    assert {le: (dict(one.labels), one.value, float(one.timestamp)) for le, one in found.items()} == {
        "1e-06": ({}, 0.0, 1.0),
        "0.5": ({"slowlog_id": "7"}, 0.25, 1_700_000_000.0),
        "+Inf": ({"a": "one", "b": "two"}, 1e9, 1_700_000_001.25),
    }
    assert b"slowlog_id" not in get(plugin)[1]


def test_what_is_rarely_asked_for_is_answered_as_by_prometheus_client(plugin: Prometheus) -> None:
    plugin.predis_export(snapshot_of(*SAMPLES))
    response, body = get(plugin, Accept=f"{OPENMETRICS};escaping=dots")
    assert response.headers["Content-Type"].endswith("escaping=dots")
    assert b"predis__visits__total" in body


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; `make peers` installs it")
def test_promtool_has_nothing_to_complain_about(plugin: Prometheus) -> None:
    plugin.predis_export(snapshot_of(*SAMPLES))
    for accept in ("text/plain", "text/plain;version=1.0.0;escaping=underscores"):
        _, body = get(plugin, Accept=accept)
        done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_metric_that_is_shipped_is_sound_in_both_formats(plugin: Prometheus) -> None:
    catalogue = Catalogue()
    catalogue.add(self_metrics.PLUGIN_NAME, (*self_metrics.SPECS, *own_metrics.SPECS))
    for point in shipped_entry_points():
        catalogue.add(point.name, specs_of(point))
    histogram = Histogram((0.1, 1.0), (1, 2, 3), 9.0)
    samples = {}
    for spec in catalogue:
        sample = Sample(spec.name, histogram if spec.kind is Kind.histogram else 1, ("x",) * len(spec.labels))
        assert catalogue.check(sample) is None
        samples[sample.key] = sample
    plugin.predis_export(Snapshot(time.time(), samples, {spec.name: spec for spec in catalogue}))
    families = list(parse_openmetrics(get(plugin, Accept=OPENMETRICS)[1].decode()))
    assert len(families) == len(catalogue)
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; `make peers` installs it")
    done = subprocess.run(["promtool", "check", "metrics"], input=get(plugin)[1], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_answer_is_compressed_for_who_can_take_it(plugin: Prometheus) -> None:
    plugin.predis_export(snapshot_of(*SAMPLES))
    _, plain = get(plugin)
    response, packed = get(plugin, Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain


def test_each_scrape_gives_the_newest_snapshot(plugin: Prometheus, collect: Collect) -> None:
    assert get(plugin)[1] == b""
    for visits in (1, 2):
        plugin.predis_export(snapshot_of(Sample("predis_visits_total", visits)))
        assert f"predis_visits_total {visits}.0\n".encode() in get(plugin)[1]
        assert f"predis_visits_total {visits}.0\n".encode() in get(plugin)[1]
    assert collect(plugin) == {("predis_prometheus_scrapes_total", ()): 5}


def test_numbers_that_are_no_longer_measured_are_not_served(host: Host) -> None:
    plugin = Prometheus(PrometheusConfig.model_validate({"port": 0, "stale_after": "1s"}))
    plugin.predis_start(host)
    try:
        plugin.predis_export(snapshot_of(*SAMPLES))
        assert get(plugin)[1] != b""
        wait_until(lambda: get(plugin)[1] == b"", what="an empty answer")
        plugin.predis_export(snapshot_of(*SAMPLES))
        assert get(plugin)[1] != b""
    finally:
        plugin.predis_stop()


def test_a_port_in_use_is_one_clear_sentence(plugin: Prometheus, host: Host) -> None:
    other = Prometheus(PrometheusConfig(port=plugin.port))
    with pytest.raises(CannotListen) as caught:
        other.predis_start(host)
    assert str(caught.value) == (
        f"cannot listen on http://127.0.0.1:{plugin.port}/metrics: Address already in use; "
        "stop the program that listens there, or set [plugins.prometheus] port to a free one"
    )
    assert (other.note, plugin.note) == ("", f"http://127.0.0.1:{plugin.port}/metrics")
    other.predis_stop()


def test_once_the_port_is_free_a_second_start_succeeds(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        plugin = Prometheus(PrometheusConfig(port=squatter.getsockname()[1]))
        with pytest.raises(CannotListen):
            plugin.predis_start(host)
    plugin.predis_start(host)
    plugin.predis_export(snapshot_of(*SAMPLES))
    assert get(plugin)[1] != b""
    plugin.predis_stop()


def test_an_address_of_another_machine_is_one_clear_sentence(host: Host) -> None:
    with pytest.raises(CannotListen, match=r"cannot listen on .*; set \[plugins.prometheus\] host"):
        Prometheus(PrometheusConfig(host="192.0.2.1", port=0)).predis_start(host)


def test_stopping_gives_port_and_thread_back_and_twice_is_fine(host: Host) -> None:
    before = threading.active_count()
    plugin = Prometheus(PrometheusConfig(port=0))
    plugin.predis_start(host)
    port = plugin.port
    plugin.predis_export(snapshot_of(*SAMPLES))
    get(plugin)
    plugin.predis_stop()
    plugin.predis_stop()
    wait_until(lambda: threading.active_count() == before, what="the end of the exporter's threads")
    again = Prometheus(PrometheusConfig(port=port))
    again.predis_start(host)
    assert again.port == port
    again.predis_stop()


def test_nothing_listens_before_the_start() -> None:
    plugin = Prometheus(PrometheusConfig(port=0))
    plugin.predis_export(snapshot_of(*SAMPLES))
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", plugin.port)) != 0


def test_a_client_that_says_nothing_delays_no_other_and_is_sent_away(
    plugin: Prometheus, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("plugins.prometheus.server._Handler.timeout", 0.3)
    plugin.predis_export(snapshot_of(*SAMPLES))
    with socket.create_connection(("127.0.0.1", plugin.port), timeout=10) as silent:
        assert get(plugin)[1] != b""
        assert silent.recv(100) == b""
    assert "Traceback" not in "".join(capfd.readouterr())


def test_it_listens_on_ipv6_where_there_is_that(host: Host) -> None:
    plugin = Prometheus(PrometheusConfig(host="::1", port=0))
    try:
        plugin.predis_start(host)
    except CannotListen as error:
        pytest.skip(f"no IPv6 here: {error}")
    assert plugin.note == f"http://[::1]:{plugin.port}/metrics"
    with urllib.request.urlopen(plugin.note, timeout=10) as answer:
        assert answer.status == 200
    plugin.predis_stop()


def test_a_scrape_of_many_series_is_quick(plugin: Prometheus) -> None:
    bounds = tuple(1e-6 * 2**power for power in range(24))
    histogram = Histogram(bounds, (7,) * 25, 1.0)
    latencies = (Sample("predis_visit_duration_seconds", histogram, (str(number),)) for number in range(40))
    shelves = (Sample("predis_shelf_bytes", number + 0.5, (str(number), "x")) for number in range(960))
    plugin.predis_export(snapshot_of(*latencies, *shelves))  # 2,040 lines

    def seconds() -> float:
        start = time.perf_counter()
        get(plugin, Accept=OPENMETRICS)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.1  # measured: 0.02 s; other tests may be running


def test_values_of_every_size_come_through(plugin: Prometheus) -> None:
    numbers = [0, -0.5, 1e-300, 1e300, math.pi, 2**63]
    plugin.predis_export(
        snapshot_of(*(Sample("predis_shelf_bytes", number, (str(i), "")) for i, number in enumerate(numbers)))
    )
    families = list(parse_openmetrics(get(plugin, Accept=OPENMETRICS)[1].decode()))
    assert sorted(sample.value for sample in families[0].samples) == sorted(numbers)
