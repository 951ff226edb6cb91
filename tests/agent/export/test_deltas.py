"""From snapshots to points: increases, starts, series that come and go, and what an earlier run knew."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api import Batch, Kind, MetricSpec, Sample, Temporality
from agent.export import baseline
from agent.export.deltas import EARLIER_LASTS, Tracker, chosen
from tests.agent.export.scripted import HITS, START, hits, level, snapshot, times, values_of


def tracker(temporality: Temporality = Temporality.delta, earlier: baseline.Baseline | None = None) -> Tracker:
    return Tracker(temporality, lambda spec: () if spec.kind is Kind.info else ("series",), earlier=earlier)


def starts_of(batches: list[Batch], metric: str) -> list[float]:
    return [
        start - START
        for batch in batches
        for series, start in zip(batch.series, batch.starts, strict=True)
        if series.spec.name == metric
    ]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30))
def test_increases_add_up_to_what_was_counted_whatever_resets(numbers: list[int]) -> None:
    tracked = tracker()
    seen = []
    for turn, number in enumerate(numbers):
        seen += values_of(tracked.take(snapshot(turn, hits(number))), "predis_hits_total")
    pairs = list(itertools.pairwise(numbers))
    assert seen == [new - old if new >= old else new for old, new in pairs]


def test_a_gauge_is_a_point_at_once_and_a_counter_from_the_second_snapshot_on() -> None:
    tracked = tracker()
    first = tracked.take(snapshot(0, level(1), hits(5), times((1, 1, 1), 3.0)))
    assert [len(batch) for batch in first] == [1]
    second = tracked.take(snapshot(10, level(1), hits(5), times((1, 1, 4), 9.0)))
    assert values_of(second, "predis_hits_total") == [0.0]
    assert [batch.interval for batch in second] == [10.0, 10.0]
    (histogram,) = second[1].values
    assert (histogram.counts, histogram.sum) == ((0, 0, 3), 6.0)  # type: ignore[union-attr]


def test_a_histogram_that_has_begun_anew_counts_whole_and_one_of_other_buckets_not() -> None:
    tracked = tracker()
    tracked.take(snapshot(0, times((5, 5, 5), 9.0)))
    anew = tracked.take(snapshot(1, times((6, 0, 0), 0.3)))
    assert values_of(anew, "predis_time_seconds") == [0.3]
    other = Sample("predis_time_seconds", type(times((1, 1, 1), 1.0).value)((7.0,), (9, 9), 1.0), ("a",))  # type: ignore[call-arg]
    assert tracked.take(snapshot(2, other)) == []


def test_cumulative_points_say_since_when_and_that_moves_at_a_reset() -> None:
    tracked = tracker(Temporality.cumulative)
    batches = [
        tracked.take(snapshot(turn * 10, level(0), hits(number), times((number, 0, 0), number)))
        for turn, number in enumerate([5, 7, 2, 3])
    ]
    assert [values_of(each, "predis_hits_total") for each in batches] == [[5], [7], [2], [3]]
    for metric in ("predis_hits_total", "predis_time_seconds"):
        assert [starts_of(each, metric) for each in batches] == [[0], [0], [10], [10]]


def test_a_series_that_vanishes_is_forgotten_and_the_others_keep_theirs() -> None:
    tracked = tracker()
    tracked.take(snapshot(0, hits(5), hits(7, "b")))
    both = tracked.take(snapshot(1, hits(6), hits(9, "b")))
    one = tracked.take(snapshot(2, hits(8)))
    assert (values_of(one, "predis_hits_total"), tracked.find(HITS, ("b",))) == ([2.0], None)
    back = tracked.take(snapshot(3, hits(9), hits(100, "b")))
    assert (values_of(back, "predis_hits_total"), values_of(back, "predis_hits_total", "b")) == ([1.0], [])
    assert both[0].series[0] is one[0].series[0] is back[0].series[0]


def test_metrics_are_picked_by_pattern_and_those_without_a_lane_are_counted() -> None:
    wanted = chosen(["predis_*"], ["*_hits_*"])
    assert [wanted(name) for name in ("predis_level", "predis_hits_total", "other")] == [True, False, False]
    tracked = Tracker(Temporality.delta, lambda spec: () if spec.kind is Kind.info else ("a", "b"), wanted)
    batches = tracked.take(snapshot(0, level(1), hits(1), Sample("predis_build_info", 1, ("1.0",))))
    assert [(batch.lane, len(batch)) for batch in batches] == [("a", 1), ("b", 1)]
    assert tracked.unsupported == 1


def test_a_metric_that_is_declared_in_another_way_is_another_series() -> None:
    tracked = tracker()
    tracked.take(snapshot(0, hits(5)))
    first = tracked.find(HITS, ("a",))
    again = MetricSpec(HITS.name, HITS.kind, "Other words.", "", HITS.labels)
    other = snapshot(1, hits(9))
    assert tracked.take(type(other)(other.time, other.samples, {**other.specs, HITS.name: again})) == []
    assert tracked.find(again, ("a",)) is not first


def test_a_restart_of_the_agent_loses_no_increase(tmp_path: Path) -> None:
    path = tmp_path / "baseline"
    before = tracker()
    before.take(snapshot(0, level(3), hits(5), hits(50, "b"), times((1, 2, 3), 4.0)))
    kept = before.baseline()
    assert kept is not None
    baseline.save(kept, path)
    # when the agent runs again: one counter went on, one began anew, one is new
    after = tracker(earlier=baseline.load(path))
    batches = after.take(snapshot(60, level(3), hits(9), hits(4, "b"), hits(77, "c"), times((1, 2, 5), 7.0)))
    assert values_of(batches, "predis_hits_total") == [4.0]
    assert values_of(batches, "predis_hits_total", "b") == [4.0]
    assert values_of(batches, "predis_hits_total", "c") == []
    assert values_of(batches, "predis_time_seconds") == [3.0]
    assert {batch.interval for batch in batches} == {60.0}
    # and in the next snapshot none of it counts again
    assert values_of(after.take(snapshot(70, hits(10))), "predis_hits_total") == [1.0]


def test_a_series_may_appear_a_while_after_the_start_and_still_be_known() -> None:
    before = tracker()
    before.take(snapshot(0, hits(5), hits(6, "b"), hits(7, "c")))
    after = tracker(earlier=before.baseline())
    assert values_of(after.take(snapshot(10, hits(6))), "predis_hits_total") == [1.0]
    assert values_of(after.take(snapshot(20, hits(6), hits(9, "b"))), "predis_hits_total", "b") == [3.0]
    late = after.take(snapshot(11 + EARLIER_LASTS, hits(6), hits(9, "b")))
    assert values_of(late, "predis_hits_total", "b") == [0.0]
    after.take(snapshot(12 + EARLIER_LASTS, hits(6), level(1)))
    assert values_of(after.take(snapshot(13 + EARLIER_LASTS, hits(6), hits(9, "c"))), "predis_hits_total", "c") == []


def test_cumulative_starts_last_over_a_restart_of_the_agent() -> None:
    before = tracker(Temporality.cumulative)
    before.take(snapshot(0, hits(5), hits(6, "b")))
    after = tracker(Temporality.cumulative, before.baseline())
    assert starts_of(after.take(snapshot(100, hits(9), hits(2, "b"))), "predis_hits_total") == [0, 0]


@pytest.mark.parametrize("spoil", [b"", b"garbage", None])
def test_a_baseline_that_cannot_be_used_is_none(tmp_path: Path, spoil: bytes | None) -> None:
    path = tmp_path / "baseline"
    tracked = tracker()
    tracked.take(snapshot(0, hits(5)))
    kept = tracked.baseline()
    assert kept is not None
    baseline.save(kept, path)
    assert baseline.load(path) is not None
    if spoil is None:
        data = bytearray(path.read_bytes())
        data[-6] ^= 1
        path.write_bytes(bytes(data))
    else:
        path.write_bytes(spoil)
    assert baseline.load(path) is None
    assert baseline.load(tmp_path / "missing") is None


def test_a_clock_that_is_set_back_gives_no_negative_interval() -> None:
    tracked = tracker()
    tracked.take(snapshot(100, hits(5)))
    (batch,) = tracked.take(snapshot(50, hits(6)))
    assert batch.interval > 0
