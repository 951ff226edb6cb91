"""Detectors and those who explain: in the agent or in a process of their own, they see the same and hurt nobody."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from agent.config import load_config
from agent.forecast.model import Forecast, ForecastRequest
from agent.history.store import HistoryStore
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample, Snapshot
from agent.metrics.pipeline import Pipeline
from agent.plugin import wire, wire_analysis
from agent.plugin.host import CacheAddress, Host
from agent.plugin.isolated import IsolatedPlugin
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginManager
from agent.plugin.snapshots import SnapshotReceiver, SnapshotSender
from agent.plugin_worker import PluginWorker
from tests.agent.foreign import Foreign, foreign
from tests.waiting import wait_until

__all__ = ["foreign"]

DETECTOR = """
    import os
    import threading
    import time

    import colorsys as heavy  # stands for a large library: nobody else in the agent imports it

    from agent.api import Anomaly, Cause, Forecast, hookimpl

    class Plugin:
        api_version = 1
        isolation = "process"
        note = f"pid {os.getpid()}"

        def __init__(self, config):
            self.looks = 0

        @hookimpl
        def predis_detect(self, snapshot):
            self.looks += 1
            for key, sample in snapshot.samples.items():
                if not isinstance(sample.value, float):
                    continue
                if sample.value > 5:
                    yield Anomaly(key, snapshot.specs[key[0]].labels, snapshot.time - 20, snapshot.time, "deviation",
                                  sample.value, float("-inf"), 5.0, 0.99, 1e-9, ((snapshot.time - 10, 1.0),))
                if sample.value == 666.0:
                    os._exit(3)
                if sample.value == 667.0:
                    time.sleep(60)
                if sample.value == 668.0:
                    yield "no anomaly"

        @hookimpl
        def predis_causes(self, incident, history):
            key = incident.anomalies[0].series
            points = history.points(key, 0, 1e10)
            newest = history.latest([key])
            together = dict(history.points_of([*history.keys(key[0]), ("nobody", ())], 0, 1e10))
            assert together == {**{k: history.points(k, 0, 1e10) for k in history.keys(key[0])}, ("nobody", ()): []}
            took = history.histogram_points(("predis_test_took_seconds", ()), 0, 1e10)
            why = f"{len(history.keys(key[0]))} series, {len(points)} points, newest {newest[key][1]:g}"
            yield Cause("tenant:shop", 2.5, why, (key,), took[0][1].counts.__repr__() if took else "")

        @hookimpl
        def predis_forecast(self, request):
            if len(request.values) < 2:
                return Forecast(problem="too little history")
            row = (request.values[-1],)
            return Forecast((request.times[-1] + 1,), row, row, row, row, row, "naive", 1.0, (None, 5.0, None))
"""
LEVEL = MetricSpec("predis_test_level", Kind.gauge, "A level.", "", ("name",))
TOOK = MetricSpec("predis_test_took_seconds", Kind.histogram, "How long.", "seconds")
FOUND = list[tuple[str, float, Sequence[Anomaly]]]


def snapshot(*values: float, at: float = 1000.0) -> Snapshot:
    samples = [Sample(LEVEL.name, value, (f"s{number}",)) for number, value in enumerate(values)]
    samples.append(Sample(TOOK.name, Histogram((1.0,), (3, 4), 9.5)))
    return Snapshot(at, {sample.key: sample for sample in samples}, {LEVEL.name: LEVEL, TOOK.name: TOOK})


def host(folder: Path) -> Host:
    cache = CacheAddress(folder / "cache.sock", "127.0.0.1", 6379, None, folder / "arena")
    return Host(folder, cache, "1.2.3", logging.getLogger("predis.plugins.weather"))


Make = Callable[..., LoadedPlugin]


@pytest.fixture
def make(foreign: Foreign, tmp_path: Path) -> Iterator[Make]:
    made: list[LoadedPlugin] = []

    def loaded(code: str = DETECTOR, table: str = "") -> LoadedPlugin:
        foreign.package("weather", code)
        (tmp_path / "agent.toml").write_text(f"[plugins.weather]\n{table}")
        manager = PluginManager(load_config(tmp_path / "agent.toml", (), {}), only=("weather",))
        manager.load()
        plugin = manager.plugins["weather"]
        assert plugin.state == "active", plugin.error
        made.append(plugin)
        return plugin

    sys.modules.pop("colorsys", None)
    yield loaded
    for plugin in made:
        plugin.abandon()


@pytest.fixture(params=["", 'isolation = "thread"'], ids=["process", "thread"])
def plugin(request: pytest.FixtureRequest, make: Make, tmp_path: Path) -> LoadedPlugin:
    loaded = make(table=request.param)
    loaded.start(host(tmp_path))
    assert isinstance(loaded, IsolatedPlugin) == (request.param == "")
    return loaded


def test_a_class_that_asks_for_a_process_of_its_own_is_never_imported_here(make: Make, tmp_path: Path) -> None:
    loaded = make()
    assert isinstance(loaded, IsolatedPlugin)
    loaded.start(host(tmp_path))
    assert loaded.implements("predis_detect")
    assert "colorsys" not in sys.modules
    make(table='isolation = "thread"')
    assert "colorsys" in sys.modules


def test_what_it_finds_is_the_same_on_both_ways(plugin: LoadedPlugin) -> None:
    for at in (1000.0, 1010.0):
        (found,) = plugin.detect(snapshot(1.0, 7.0, at=at))
        assert found == Anomaly(
            (LEVEL.name, ("s1",)), ("name",), at - 20, at, "deviation", 7.0, float("-inf"), 5.0, 0.99, 1e-9,
            ((at - 10, 1.0),),
        )  # fmt: skip
    assert plugin.detect(snapshot(1.0, 2.0)) == []
    assert len(plugin.detect(snapshot(*[9.0] * 500))) == 500


def test_who_explains_can_look_at_the_history(plugin: LoadedPlugin) -> None:
    history = HistoryStore(lambda: 1000.0)
    for turn in range(3):
        history.accept("test", 10.0, dict(snapshot(1.0, 7.0 + turn).samples))
    (anomaly,) = plugin.detect(snapshot(1.0, 7.0))
    incident = Incident("i1", 980.0, "off", (anomaly,), attributes={"series": "1"})
    (cause,) = plugin.causes(incident, history)
    assert cause == Cause(
        "tenant:shop", 2.5, "2 series, 1 points, newest 9", ((LEVEL.name, ("s1",)),), "(3, 4)"
    )  # one point: the clock stands still


def test_a_forecast_comes_back(plugin: LoadedPlugin) -> None:
    forecast = plugin.forecast(ForecastRequest("x", (1.0, 2.0), (3.0, 4.0), 10.0))
    row = (4.0,)
    assert forecast == Forecast((3.0,), row, row, row, row, row, "naive", 1.0, (None, 5.0, None))
    assert plugin.forecast(ForecastRequest("x", (), (), 10.0)).problem == "too little history"


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (666.0, "its process was ended in predis_detect: it ended by itself with status 3"),
        (667.0, "its process was ended in predis_detect: not done after 1s"),
        (668.0, "predis_detect gave a str where agent.api.Anomaly was expected"),
    ],
)
def test_a_detector_that_breaks_costs_its_process_and_is_started_again(
    make: Make, tmp_path: Path, value: float, complaint: str
) -> None:
    plugin = make(table='deadline = "1s"')
    plugin.start(host(tmp_path))
    with pytest.raises(Exception, match=complaint):
        plugin.detect(snapshot(value))
    (found,) = plugin.detect(snapshot(6.0))  # a new process, which knows no series yet
    assert found.value == 6.0


def worker(plugin: LoadedPlugin, folder: Path, found: FOUND) -> tuple[PluginWorker, Pipeline]:
    catalogue = Catalogue()
    catalogue.add("test", (LEVEL, TOOK))
    pipeline = Pipeline(catalogue)
    made = PluginWorker(plugin, host(folder), pipeline, 10.0, found=lambda *what: found.append(what))
    return made, pipeline


def test_a_worker_gives_a_detector_what_is_newest_and_passes_on_what_it_finds(make: Make, tmp_path: Path) -> None:
    found: FOUND = []
    made, pipeline = worker(make(), tmp_path, found)
    try:
        pipeline.accept("test", snapshot(1.0, 8.0).samples.values())
        made.detect()
        wait_until(lambda: found, 20, "the detector has looked")
        name, at, (anomaly,) = found[0]
        assert (name, anomaly.value) == ("weather", 8.0)
        assert abs(at - time.time()) < 30
        assert made.status()["state"] == "active"
    finally:
        made.stop(5.0)


def test_a_detector_that_hangs_in_the_agent_is_named_and_holds_up_no_collection(make: Make, tmp_path: Path) -> None:
    found: FOUND = []
    code = DETECTOR.replace("time.sleep(60)", "threading.Event().wait(20)")
    made, pipeline = worker(make(code, 'isolation = "thread"\ndeadline = "100ms"'), tmp_path, found)
    pipeline.accept("test", snapshot(667.0).samples.values())
    made.detect()
    wait_until(lambda: made.status()["state"] == "hung", 10, "it hangs")
    assert pipeline.accept("test", snapshot(1.0).samples.values()) == 2
    made.detect()  # returns at once
    assert found == []
    made.stop(0.1)


GOOD_ANOMALY = wire_analysis.dump(
    Anomaly(("m", ("a",)), ("l",), 1.0, 2.0, "shift", 3.0, 0.0, 1.0, 0.5, 0.1, ((1.0, 2.0),))
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"series": ["m"]}, {"series": [1, ["a"]]}, {"labels": [1]}, {"since": "soon"}, {"channel": 5}, {"component": 5},
        {"history": [[1]]}, {"since": float("nan")}, {"score": float("nan")}, {"extra": 1},
    ],
)  # fmt: skip
def test_anomalies_that_are_wrong_are_refused(wrong: dict[str, object]) -> None:
    assert wire_analysis.load_anomalies([GOOD_ANOMALY])[0].channel == "shift"
    with pytest.raises(wire.WireError):
        wire_analysis.load_anomalies([{**GOOD_ANOMALY, **wrong}])


def test_what_is_absent_has_no_value_and_comes_through_a_process() -> None:
    absent = {**GOOD_ANOMALY, "channel": "absence", "value": math.nan, "low": math.nan, "high": math.nan}
    sent = wire.pack([absent, GOOD_ANOMALY])
    first, second = wire_analysis.load_anomalies(wire.take(bytearray(sent)))
    assert (first.channel, second.value) == ("absence", 3.0)
    assert math.isnan(first.value)
    assert math.isnan(first.low)


def test_series_come_and_go_between_sender_and_receiver() -> None:
    sender, receiver = SnapshotSender(), SnapshotReceiver()
    for turn in range(100):
        names = [f"t{turn // 3}-{number}" for number in range(100)]
        samples = {(LEVEL.name, (name,)): Sample(LEVEL.name, float(turn), (name,)) for name in names}
        given = Snapshot(float(turn), samples, {LEVEL.name: LEVEL})
        frame = bytearray(wire.pack(sender.dump(given)))
        assert receiver.load(wire.take(frame)) == given
        if turn % 3 == 2:
            assert len(frame) == 0
    assert len(sender._numbers) <= 1300
