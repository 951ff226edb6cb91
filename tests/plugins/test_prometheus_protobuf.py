"""The exporter's protobuf format: what the protobuf library reads is what was measured, and who prefers it gets it."""

import itertools
import math
import random
import time
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api import Exemplar, Histogram, Host, Kind, MetricSpec, Sample, Snapshot
from core_cache._native import latency_bounds
from plugins.cache_metrics.latency import LatencyScale
from plugins.prometheus.accept import Format, prefers_protobuf
from plugins.prometheus.native import SCHEMA, Buckets
from plugins.prometheus.plugin import Prometheus, PrometheusConfig
from plugins.prometheus.protobuf import Protobuf
from plugins.prometheus.scrape import Newest
from tests.plugins.prometheus_messages import native_buckets, read, type_of
from tests.plugins.test_prometheus import OPENMETRICS, SAMPLES, get, plugin, snapshot_of

__all__ = ["plugin"]

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
DEBIAN = f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
"""What Prometheus 2.42 says with --enable-feature=native-histograms."""
FINE = tuple(latency_bounds())[:-1]
SCALE = LatencyScale((*FINE, math.inf))
STATED = 1.143  # of the cache's latencies, in the README
ONE = MetricSpec("predis_wait_seconds", Kind.histogram, "Waits.", "seconds")


def histogram_of(value: Histogram, native: bool = True) -> Any:
    """A histogram as the library reads it from a page."""
    sample = Sample(ONE.name, value)
    ((family,),) = (read(Protobuf(native).write(Snapshot(1.0, {sample.key: sample}, {ONE.name: ONE}))),)
    (metric,) = family.metric
    return metric.histogram


def edge(index: int) -> float:
    """The upper bound of a native bucket."""
    return float(2.0 ** (index / 2**SCHEMA))


def test_every_series_is_there_with_its_labels_help_type_and_unit() -> None:
    families = {family.name: family for family in read(Protobuf(native=True).write(snapshot_of(*SAMPLES)))}
    assert {name: (type_of(each), each.unit) for name, each in families.items()} == {
        "predis_shelf_bytes": ("GAUGE", "bytes"),
        "predis_visits_total": ("COUNTER", ""),
        "predis_visit_duration_seconds": ("HISTOGRAM", "seconds"),
        "predis_shop_info": ("GAUGE", ""),
    }
    assert families["predis_shelf_bytes"].help == 'Room on a shelf: "a\\b".'
    shelves = {
        tuple((pair.name, pair.value) for pair in metric.label): metric.gauge.value
        for metric in families["predis_shelf_bytes"].metric
    }
    assert shelves == {
        (("shelf", 'to"p\\\n'), ("kind", "œuvre")): 3,
        (("shelf", "low"), ("kind", "")): 2.5e-7,
    }
    (visits,) = families["predis_visits_total"].metric
    assert visits.counter.value == 2**53 - 1
    first, second = (metric.histogram for metric in families["predis_visit_duration_seconds"].metric)
    assert [(bucket.upper_bound, bucket.cumulative_count) for bucket in first.bucket] == [
        (1e-6, 1),
        (0.5, 3),
        (10.0, 3),
        (math.inf, 6),
    ]
    assert (first.sample_count, first.sample_sum) == (6, 44.25)
    assert (second.sample_count, second.sample_sum, second.zero_threshold) == (0, 0.0, 1e-6)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=400), st.floats(allow_nan=False, allow_infinity=False)
)
def test_whatever_a_label_or_a_value_is_it_comes_through(label: str, value: float) -> None:
    newest = Newest(stale_after=60.0)
    newest.show(snapshot_of(Sample("predis_shelf_bytes", value, (label, "x"))))
    (family,) = read(newest.page(Format.protobuf, compressed=False))
    (metric,) = family.metric
    assert ([pair.value for pair in metric.label], metric.gauge.value) == ([label, "x"], value)


BOUNDS = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=30, unique=True).map(lambda found: tuple(sorted(found)))


@given(BOUNDS, st.data())
def test_count_and_sum_stay_and_every_observation_is_in_a_bucket_that_is_near(
    bounds: tuple[float, ...], data: st.DataObject
) -> None:
    counts = tuple(data.draw(st.integers(0, 2**40)) for _ in range(len(bounds) + 1))
    found = histogram_of(Histogram(bounds, counts, 12.5))
    native = native_buckets(found)
    assert (found.sample_count, found.sample_sum) == (sum(counts), 12.5)
    assert (found.zero_threshold, found.zero_count) == (bounds[0], counts[0])
    assert found.zero_count + sum(native.values()) == found.sample_count
    assert all(native.values()), "empty buckets are left out"
    # and each of our buckets, alone, goes to one whose ends are no further away than stated
    width = 2.0 ** (2.0**-SCHEMA)
    for number, (low, high) in enumerate(itertools.pairwise(bounds), 1):
        alone = tuple(5 if at == number else 0 for at in range(len(counts)))
        ((index, count),) = native_buckets(histogram_of(Histogram(bounds, alone, 1.0))).items()
        assert count == 5
        furthest = max(edge(index) / low, high / edge(index - 1))
        assert furthest <= math.sqrt(high / low) * width * (1 + 1e-9)
    over = histogram_of(Histogram(bounds, (0,) * len(bounds) + (5,), 1.0))
    ((index, _),) = native_buckets(over).items()
    assert edge(index - 1) <= bounds[-1] * (1 + 1e-9) < edge(index) * (1 + 2e-9)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2**20)), max_size=30))
def test_no_native_bucket_ever_shrinks(grown: list[tuple[int, int]]) -> None:
    """Prometheus would take it for a reset, and count all again."""
    bounds = tuple(0.001 * 1.01**power for power in range(30))  # so near to each other that some share a bucket
    buckets = Buckets.of(bounds)
    assert buckets is not None
    assert list(buckets.indexes) == sorted(buckets.indexes)
    counts, before = [0] * 31, {}
    for at, more in grown:
        counts[at] += more
        native = native_buckets(histogram_of(Histogram(bounds, tuple(counts), 1.0)))
        assert all(native[index] >= count for index, count in before.items())
        before = native


@pytest.mark.parametrize("counts", [(2.0, 200.0, 3.0), tuple(numpy.array([2, 200, 3]))])
def test_counts_that_are_no_integers_of_python_break_no_page(counts: Any) -> None:
    found = histogram_of(Histogram((1.0, 2.0), counts, 5.0))
    assert [bucket.cumulative_count for bucket in found.bucket] == [2, 202, 205]
    assert (found.zero_count, list(native_buckets(found).values())) == (2, [200, 3])


def test_the_largest_counts_fit() -> None:
    counts = (0, 2**63 - 2, 1)
    found = histogram_of(Histogram((1.0, 2.0), counts, 5.0))
    assert (found.sample_count, list(native_buckets(found).values())) == (2**63 - 1, [2**63 - 2, 1])


@pytest.mark.parametrize("bounds", [(), (0.0, 1.0), (-1.0, 1.0)])
def test_a_histogram_of_what_may_be_negative_stays_a_classic_one(bounds: tuple[float, ...]) -> None:
    found = histogram_of(Histogram(bounds, (1,) * (len(bounds) + 1), 1.0))
    assert (found.schema, found.zero_threshold, len(found.positive_span)) == (0, 0.0, 0)
    assert found.bucket[-1].cumulative_count == len(bounds) + 1


def latencies(values: list[float]) -> Histogram:
    """As the cache counts them: in fine buckets, and in coarse ones."""
    counts = [0] * (len(FINE) + 1)
    for value in values:
        counts[next((at for at, bound in enumerate(FINE) if value < bound), len(FINE))] += 1
    total = sum(values)
    return Histogram(SCALE.bounds, SCALE.merge(counts), total, (), Histogram(FINE, tuple(counts), total))


def test_latencies_of_the_cache_are_within_the_stated_error() -> None:
    for low, high in itertools.pairwise(FINE):
        value = math.sqrt(low * high)
        ((index, _),) = native_buckets(histogram_of(latencies([value]))).items()
        assert max(edge(index) / low, high / edge(index - 1)) <= STATED
    assert histogram_of(latencies([3e-8])).zero_count == 1
    # and the classic buckets are the coarse ones
    assert len(histogram_of(latencies([0.5])).bucket) == len(SCALE.bounds) + 1


def test_exemplars_stand_at_their_buckets_and_by_time_at_the_native_histogram() -> None:
    exemplars = (
        Exemplar((("slowlog_id", "3"),), 0.2, 1_700_000_003.25),
        Exemplar((("slowlog_id", "2"),), 0.7, 1_700_000_002.0),
        Exemplar((("slowlog_id", "1"),), 0.15, 1_700_000_001.0),
        Exemplar((("slowlog_id", "9"),), 7.0, 1_700_000_009.0),
    )
    found = histogram_of(Histogram((0.1, 0.5, 1.0), (4, 2, 1, 1), 9.0, exemplars))
    at = {bucket.upper_bound: bucket.exemplar for bucket in found.bucket if bucket.HasField("exemplar")}
    assert {bound: one.label[0].value for bound, one in at.items()} == {0.5: "3", 1.0: "2", math.inf: "9"}
    assert (at[0.5].value, at[0.5].label[0].name) == (0.2, "slowlog_id")
    assert (at[0.5].timestamp.seconds, at[0.5].timestamp.nanos) == (1_700_000_003, 250_000_000)
    assert [one.label[0].value for one in found.exemplars] == ["2", "3", "9"]
    assert list(histogram_of(Histogram((0.1,), (1, 1), 1.0, exemplars), native=False).exemplars) == []


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (DEBIAN, True),
        (PROTOBUF, True),
        (PROTOBUF.replace(";", "; "), True),
        (f"application/openmetrics-text;version=1.0.0;q=0.5,{PROTOBUF};q=0.6,text/plain;q=0.3", True),
        (f"application/openmetrics-text;version=1.0.0;q=0.6,{PROTOBUF};q=0.2", False),
        (f"text/plain,{PROTOBUF}", False),
        (f"{PROTOBUF},text/plain", True),
        (f"{PROTOBUF};q=0", False),
        (f"{PROTOBUF};q=much", False),
        (PROTOBUF.replace("delimited", "text"), False),
        (PROTOBUF.replace("MetricFamily", "Other"), False),
        ("application/vnd.google.protobuf", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_protobuf_is_for_who_prefers_it(header: str, wanted: bool) -> None:
    assert prefers_protobuf(header) == wanted


def test_who_asks_for_protobuf_gets_it_and_others_get_what_they_got(plugin: Prometheus) -> None:
    plugin.predis_export(snapshot_of(*SAMPLES))
    response, body = get(plugin, Accept=DEBIAN)
    assert response.headers["Content-Type"] == (
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    )
    assert len(read(body)) == 4
    assert get(plugin, Accept=OPENMETRICS)[1].endswith(b"# EOF\n")
    assert get(plugin)[1].startswith(b"# HELP")
    plugin.predis_export(Snapshot(0.0))
    assert get(plugin, Accept=DEBIAN)[1] == b""


def test_native_histograms_can_be_switched_off(host: Host) -> None:
    off = Prometheus(PrometheusConfig.model_validate({"port": 0, "native_histograms": False}))
    off.predis_start(host)
    try:
        off.predis_export(snapshot_of(*SAMPLES))
        (found,) = [each for each in read(get(off, Accept=DEBIAN)[1]) if type_of(each) == "HISTOGRAM"]
        assert not found.metric[0].histogram.HasField("zero_threshold")
        assert len(found.metric[0].histogram.bucket) == 4
    finally:
        off.predis_stop()


def test_what_changed_since_the_last_page_is_on_the_next() -> None:
    writer, fresh = Protobuf(native=True), Protobuf(native=True)
    other = Sample("predis_visit_duration_seconds", Histogram((2.5, 7.0), (4, 1, 0), 1e12), ("a",))
    same_keys = (*SAMPLES[:3], other, *SAMPLES[4:])
    for samples in (SAMPLES, tuple(reversed(SAMPLES)), (*SAMPLES[:3], other), (), SAMPLES, same_keys, SAMPLES):
        assert writer.write(snapshot_of(*samples)) == Protobuf(native=True).write(snapshot_of(*samples))
    assert fresh.write(snapshot_of()) == b""
    # also of the declaration of a metric
    key = ("predis_shelf_bytes", ("top", "x"))
    for labels in (("shelf", "kind"), ("kind", "shelf")):
        spec = MetricSpec(key[0], Kind.gauge, f"Labels: {labels}.", "bytes", labels)
        ((family,),) = (read(writer.write(Snapshot(1.0, {key: Sample(key[0], 1, key[1])}, {key[0]: spec}))),)
        assert family.help == spec.help
        assert [pair.name for pair in family.metric[0].label] == list(labels)


def test_neighbours_share_a_span() -> None:
    buckets = Buckets(1.0, (-3, -2, -2, 5, 6, 9))
    assert buckets.spread((9, 1, 2, 3, 4, 5, 6)) == ([(-3, 2), (6, 2), (2, 1)], [1, 5, 4, 5, 6])
    assert buckets.spread((9, 0, 0, 0, 0, 5, 0)) == ([(6, 1)], [5])
    assert buckets.spread((9, 0, 0, 0, 0, 0, 0)) == ([], [])


def test_a_page_of_ten_thousand_series_is_quick() -> None:
    draw = random.Random(1)
    batch = [
        latencies([draw.lognormvariate(-10, 2) for _ in range(50)]) for _ in range(10)
    ]  # occupied: some 30 of the 128 buckets
    spec = MetricSpec("predis_shelf_bytes", Kind.gauge, "Room.", "bytes", ("shelf",))
    took = MetricSpec("predis_wait_seconds", Kind.histogram, "Waits.", "seconds", ("who",))
    writer = Protobuf(native=True)

    def seconds(turn: int) -> float:
        samples = [Sample(spec.name, number + turn + 0.5, (str(number),)) for number in range(9_500)]
        samples += [Sample(took.name, batch[number % 10], (str(number),)) for number in range(500)]
        snapshot = Snapshot(time.time(), {each.key: each for each in samples}, {spec.name: spec, took.name: took})
        began = time.thread_time()
        assert len(writer.write(snapshot)) > 100_000
        return time.thread_time() - began

    seconds(0)
    assert min(seconds(turn) for turn in range(1, 5)) < 0.06
