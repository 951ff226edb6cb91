"""The pipeline keeps the newest sample of every series, within caps, and counts and names what it drops."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.metrics.catalogue import Catalogue
from agent.metrics.governor import MAX_OFFENDERS, OTHERS, Governor
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample
from agent.metrics.pipeline import Pipeline, SampleError
from tests.waiting import wait_until

SHELF = MetricSpec("predis_shelf_bytes", Kind.gauge, "Room on a shelf.", "bytes", ("shelf",))
VISITS = MetricSpec("predis_visits_total", Kind.counter, "Visits.")
DURATION = MetricSpec("predis_visit_duration_seconds", Kind.histogram, "How long visits are.", "seconds")


@pytest.fixture
def pipeline() -> Pipeline:
    catalogue = Catalogue()
    catalogue.add("shop", (SHELF, VISITS, DURATION))
    return Pipeline(catalogue, interval=10.0)


def shelf(name: str, value: float = 1.0) -> Sample:
    return Sample(SHELF.name, value, (name,))


def test_a_snapshot_has_the_newest_sample_of_every_series_and_its_spec(pipeline: Pipeline) -> None:
    histogram = Sample(DURATION.name, Histogram((0.1,), (1, 2), 3.0))
    assert pipeline.accept("shop", [shelf("top", 1), shelf("low", 2), histogram], now=100) == 3
    assert pipeline.accept("shop", [shelf("top", 5)], now=110) == 1
    snapshot = pipeline.snapshot(now=112)
    assert snapshot.time == pytest.approx(time.time(), abs=60)
    assert snapshot.samples == {
        (SHELF.name, ("top",)): shelf("top", 5),
        (SHELF.name, ("low",)): shelf("low", 2),
        (DURATION.name, ()): histogram,
    }
    assert snapshot.specs == {SHELF.name: SHELF, DURATION.name: DURATION}
    assert [(spec.name, len(samples)) for spec, samples in snapshot.families()] == [(SHELF.name, 2), (DURATION.name, 1)]


def test_a_later_run_does_not_change_a_snapshot_that_was_taken(pipeline: Pipeline) -> None:
    pipeline.accept("shop", [shelf("top", 1)], now=100)
    snapshot = pipeline.snapshot(now=100)
    pipeline.accept("shop", [shelf("top", 2), shelf("low", 2)], now=110)
    assert snapshot.samples == {(SHELF.name, ("top",)): shelf("top", 1)}


def test_in_production_a_bad_sample_is_dropped_counted_and_named_and_the_others_are_kept(pipeline: Pipeline) -> None:
    bad = [Sample("predis_typo_total", 1), Sample("predis_typo_total", 1), shelf("top", float("nan"))]
    assert pipeline.accept("shop", [*bad, shelf("low"), shelf("low", 7)], now=100) == 1
    status = pipeline.status("shop")
    assert status["series"] == 1
    assert status["dropped"] == {"uncatalogued": 2, "value": 1, "duplicate": 1}
    assert status["offenders"][0] == ("predis_typo_total", "uncatalogued", 2)
    assert list(pipeline.snapshot(now=100).samples) == [(SHELF.name, ("low",))]


def test_in_tests_a_bad_sample_is_an_error_that_names_plugin_and_metric(pipeline: Pipeline) -> None:
    strict = Pipeline(pipeline.catalogue, strict=True)
    with pytest.raises(SampleError, match=r"shop: .*predis_typo_total \(uncatalogued\)"):
        strict.accept("shop", [Sample("predis_typo_total", 1)])
    strict.register("shop", max_series=1)
    with pytest.raises(SampleError, match="more than the caps of 1 in all"):
        strict.accept("shop", [shelf("a"), shelf("b")])


@pytest.mark.parametrize("thing", [None, 7, ("predis_visits_total", 1), Sample([], 1), Sample(None, 1)])  # type: ignore[arg-type]
def test_something_that_is_no_sample_is_dropped(pipeline: Pipeline, thing: Sample) -> None:
    assert pipeline.accept("shop", [thing, shelf("low")], now=100) == 1
    assert sum(pipeline.status("shop")["dropped"].values()) == 1


def test_a_metric_of_another_plugin_is_not_accepted(pipeline: Pipeline) -> None:
    assert pipeline.accept("thief", [Sample(VISITS.name, 1)], now=100) == 0
    assert pipeline.status("thief")["dropped"] == {"uncatalogued": 1}


def test_a_flood_of_series_is_capped_and_does_not_push_out_those_that_were_there(pipeline: Pipeline) -> None:
    pipeline.register("shop", max_series=5)
    assert pipeline.accept("shop", [shelf("top"), shelf("low")], now=100) == 2
    flood = [*(shelf(f"new {number}") for number in range(10)), shelf("top", 9), shelf("low", 9)]
    assert pipeline.accept("shop", flood, now=110) == 5
    samples = pipeline.snapshot(now=110).samples
    assert len(samples) == 5
    assert samples[SHELF.name, ("top",)].value == samples[SHELF.name, ("low",)].value == 9
    assert pipeline.status("shop")["dropped"] == {"plugin_series": 7}
    assert pipeline.status("shop")["offenders"] == [(SHELF.name, "plugin_series", 7)]


def test_a_cap_per_metric_leaves_room_for_the_others(pipeline: Pipeline) -> None:
    pipeline.register("shop", max_series=5, max_per_metric=2)
    run = [*(shelf(str(number)) for number in range(4)), Sample(VISITS.name, 1)]
    assert pipeline.accept("shop", run, now=100) == 3
    assert pipeline.status("shop")["dropped"] == {"metric_series": 2}


def test_a_generator_without_end_is_cut_off(pipeline: Pipeline) -> None:
    read = 0

    def endless() -> Iterator[Sample]:
        nonlocal read
        while True:
            read += 1
            yield shelf(str(read))

    pipeline.register("shop", max_series=10)
    assert pipeline.accept("shop", endless(), now=100) == 10
    assert read == 41
    assert pipeline.status("shop")["dropped"] == {"flood": 1, "plugin_series": 30}


def test_series_not_seen_for_five_intervals_go_and_make_room(pipeline: Pipeline) -> None:
    pipeline.register("shop", max_series=2, interval=10.0)
    pipeline.accept("shop", [shelf("old"), shelf("new")], now=100)
    pipeline.accept("shop", [shelf("new")], now=150)
    assert len(pipeline.snapshot(now=150).samples) == 2
    assert list(pipeline.snapshot(now=150.1).samples) == [(SHELF.name, ("new",))]
    assert pipeline.accept("shop", [shelf("newer")], now=151) == 1
    assert pipeline.status("shop")["series"] == 2


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_step_of_the_wall_clock_makes_no_series_stale_nor_immortal(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    # given series that were collected just now
    pipeline.register("shop", interval=0.01)
    pipeline.accept("shop", [shelf("top")])
    pipeline.register("shop", interval=60.0)
    # when somebody sets the clock
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + step)
    # then all are there, and what is shown is the new time
    snapshot = pipeline.snapshot()
    assert list(snapshot.samples) == [(SHELF.name, ("top",))]
    assert snapshot.time == pytest.approx(wall() + step, abs=60)
    pipeline.accept("shop", [shelf("low")])
    assert pipeline.status("shop")["series"] == 2
    # and they go when their time is over
    pipeline.register("shop", interval=0.01)
    wait_until(lambda: not pipeline.snapshot().samples, what="the end of what is not seen any more")


def test_a_plugin_with_a_longer_interval_keeps_its_series_longer(pipeline: Pipeline) -> None:
    pipeline.register("shop", interval=60.0)
    pipeline.accept("shop", [shelf("top")], now=100)
    assert len(pipeline.snapshot(now=399).samples) == 1
    assert len(pipeline.snapshot(now=401).samples) == 0


def test_a_plugin_that_collects_no_more_loses_its_series_and_the_others_keep_theirs(pipeline: Pipeline) -> None:
    pipeline.catalogue.add("tram", (MetricSpec("predis_trams", Kind.gauge, "Trams."),))
    pipeline.accept("shop", [shelf("top")], now=100)
    pipeline.accept("tram", [Sample("predis_trams", 2)], now=149)
    assert list(pipeline.snapshot(now=155).samples) == [("predis_trams", ())]


def test_forgetting_a_plugin_removes_its_series_at_once_and_a_last_run_does_not_bring_them_back(
    pipeline: Pipeline,
) -> None:
    def last_run() -> Iterator[Sample]:
        yield shelf("top")
        pipeline.forget("shop")

    pipeline.accept("shop", [shelf("low")], now=100)
    assert pipeline.accept("shop", last_run(), now=101) == 0
    assert pipeline.snapshot(now=101).samples == {}
    assert pipeline.status("shop")["series"] == 0


def test_only_who_owns_a_name_delivers_under_it(pipeline: Pipeline) -> None:
    # given a run that still goes on when somebody else takes over the name
    old, new = object(), object()
    read: list[str] = []

    def late_run() -> Iterator[Sample]:
        read.append("late")
        yield shelf("top", 1)
        yield Sample("predis_typo_total", 1)
        pipeline.register("shop", owner=new)

    pipeline.register("shop", owner=old)
    assert pipeline.accept("shop", [shelf("low", 1)], now=100, owner=old) == 1
    # then what it delivers is not taken, nor counted as dropped
    assert pipeline.accept("shop", late_run(), now=101, owner=old) == 0
    assert pipeline.status("shop") == {"series": 1, "dropped": {}, "offenders": []}
    # and a later run of its is not even read
    assert pipeline.accept("shop", late_run(), now=102, owner=old) == 0
    assert read == ["late"]
    # while the new owner delivers, also with other settings
    pipeline.register("shop", interval=20.0)
    assert pipeline.accept("shop", [shelf("top", 2)], now=103, owner=new) == 1
    assert pipeline.snapshot(now=103).samples[SHELF.name, ("top",)].value == 2


def test_a_run_that_begins_after_its_plugin_was_forgotten_does_not_bring_the_name_back(pipeline: Pipeline) -> None:
    pipeline.register("shop", owner=(owner := object()))
    pipeline.forget("shop")
    assert pipeline.accept("shop", [shelf("top")], owner=owner) == 0
    assert pipeline.plugins() == []


def test_series_whose_spec_was_removed_are_not_in_a_snapshot(pipeline: Pipeline) -> None:
    pipeline.accept("shop", [shelf("low")], now=100)
    pipeline.catalogue.remove("shop")
    assert pipeline.snapshot(now=100).samples == {}


def test_registering_again_changes_the_caps_and_keeps_series_and_counts(pipeline: Pipeline) -> None:
    pipeline.register("shop", max_series=1)
    pipeline.accept("shop", [shelf("a"), shelf("b")], now=100)
    pipeline.register("shop", max_series=3)
    assert pipeline.accept("shop", [shelf("a"), shelf("b")], now=110) == 2
    assert pipeline.status("shop")["dropped"] == {"plugin_series": 1}


def test_names_made_up_by_a_plugin_do_not_fill_the_memory() -> None:
    governor = Governor(10, 10, 50.0)
    for number in range(1000):
        governor.drop(f"predis_made_up_{number}", "uncatalogued")
    assert governor.dropped == {"uncatalogued": 1000}
    offenders = governor.offenders(at_most=1000)
    assert len(offenders) == MAX_OFFENDERS + 1
    assert offenders[0] == (OTHERS, "uncatalogued", 1000 - MAX_OFFENDERS)


def test_collecting_and_taking_snapshots_go_on_at_the_same_time(pipeline: Pipeline) -> None:
    names = [f"tram{number}" for number in range(4)]
    for name in names:
        pipeline.catalogue.add(name, (MetricSpec(f"predis_{name}", Kind.gauge, "A tram.", "", ("stop",)),))

    def collect(name: str) -> None:
        for turn in range(200):
            pipeline.accept(name, [Sample(f"predis_{name}", turn, (str(turn % 50),))], now=100)

    threads = [threading.Thread(target=collect, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    sizes = [len(pipeline.snapshot(now=100).samples) for _ in range(200)]
    for thread in threads:
        thread.join(30)
    assert sizes == sorted(sizes)
    assert len(pipeline.snapshot(now=100).samples) == 4 * 50


@given(st.lists(st.lists(st.integers(0, 30), max_size=40), max_size=8), st.integers(1, 20), st.integers(1, 20))
def test_whatever_comes_accepted_and_dropped_add_up_and_no_cap_is_exceeded(
    runs: list[list[int]], max_series: int, max_per_metric: int
) -> None:
    catalogue = Catalogue()
    catalogue.add("shop", (SHELF,))
    pipeline = Pipeline(catalogue)
    pipeline.register("shop", max_series=max_series, max_per_metric=max_per_metric)
    given_samples = accepted = 0
    for turn, run in enumerate(runs):
        samples = [shelf(str(number)) for number in run][: 4 * max_series]
        given_samples += len(samples)
        accepted += pipeline.accept("shop", samples, now=100 + 20 * turn)
        assert len(pipeline.snapshot(now=100 + 20 * turn).samples) <= min(max_series, max_per_metric)
    assert accepted + sum(pipeline.status("shop")["dropped"].values()) == given_samples
