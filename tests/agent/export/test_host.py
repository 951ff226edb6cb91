"""An exporter with a destination among other plugins: fed, shown, reloaded, stopped; and the events it is told of."""

import importlib.metadata
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.api import CacheAddress, Event, ExportConfig, Host, MetricSpec, Sample, hookimpl
from agent.collection import Collection
from agent.config.load import load_config
from agent.errors import PredisError
from agent.export import report
from agent.incidents.cache import CacheIncidents
from agent.incidents.events import EventLog
from agent.metrics.catalogue import Catalogue
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import PLUGIN_NAME, SelfMetrics
from agent.plugin.manager import PluginManager
from tests.agent.export.scripted import HITS, LEVEL, REFUSED, Scripted
from tests.waiting import wait_until


class Vendor:
    """An exporter; its destination is set by the test."""

    api_version = 1
    Config = ExportConfig
    destination: Any = None

    def __init__(self, config: ExportConfig) -> None:
        self.stops = 0

    @hookimpl
    def predis_start(self, host: Host) -> None:
        host.emit(Event(time.time(), "vendor_started", "The vendor's half was started"))

    @hookimpl
    def predis_destination(self) -> Any:
        if isinstance(self.destination, Exception):
            raise self.destination
        return self.destination

    @hookimpl
    def predis_stop(self) -> None:
        self.stops += 1


class Source:
    """A collector."""

    api_version = 1

    def __init__(self, config: Any) -> None:
        self.runs = 0

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return [LEVEL, HITS]

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        self.runs += 1
        return [Sample("predis_level", self.runs, ("a",)), Sample("predis_hits_total", self.runs * 10, ("a",))]


class Bench:
    """The two as plugins of a collection at an interval of 100 ms."""

    def __init__(self, folder: Path, module: str) -> None:
        self.folder = folder
        points = [
            importlib.metadata.EntryPoint(name, f"{module}:{cls}", "predis_agent.plugins")
            for name, cls in (("vendor", "Vendor"), ("source", "Source"))
        ]
        self.manager = PluginManager(self.config(), points)
        self.manager.load()
        catalogue = Catalogue()
        self.pipeline = Pipeline(catalogue, interval=0.1)
        own = SelfMetrics("0", self.pipeline)
        catalogue.add(PLUGIN_NAME, (*own.specs(), *report.SPECS))
        address = CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "cache.arena")
        self.host = Host(folder, address, "0", logging.getLogger("test"))
        self.collection = Collection(self.manager, self.pipeline, own, own=own.collect, beat=lambda: None)

    def config(self, *settings: str) -> Any:
        usual = [f"agent.data_dir={self.folder}", 'plugins.vendor.metrics=["predis_[lh]*"]']
        return load_config(None, [*usual, *settings], {})

    def start(self) -> None:
        self.collection.start(0.1)
        self.collection.run_plugins(self.host)

    def status(self, name: str = "vendor") -> dict[str, Any]:
        return next(entry for entry in self.collection.status() if entry["name"] == name)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    module = ModuleType("predis_test_exporters")
    module.Vendor, module.Source = Vendor, Source  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    bench = Bench(tmp_path, module.__name__)
    yield bench
    bench.collection.stop()


def test_a_plugin_with_a_destination_is_fed_and_its_books_are_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Scripted()
    monkeypatch.setattr(Vendor, "destination", vendor)
    bench.start()
    wait_until(lambda: len(vendor.values()) >= 5 and len(vendor.values("predis_hits_total")) >= 3)
    assert set(vendor.values("predis_hits_total")) <= {0.0, 10.0, 20.0, 30.0}
    status = bench.status()
    assert (status["state"], status["exports"], status["error"]) == ("active", True, None)
    assert status["export"]["delivered"] >= 8
    assert bench.collection.not_delivering() == []
    key = ("predis_export_points_total", ("vendor", "delivered"))
    wait_until(lambda: key in bench.pipeline.snapshot().samples)
    # an event of the plugin's own came as well
    assert [event.kind for batch in vendor.taken for event in batch.events] == ["vendor_started"]


def test_a_destination_that_is_configured_wrongly_fails_alone_and_says_what_to_mend(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Vendor, "destination", PredisError("endpoint has no host; write https://HOST"))
    bench.start()
    wait_until(lambda: bench.status()["error"])
    assert "endpoint has no host; write https://HOST" in bench.status()["error"]
    assert "export" not in bench.status()
    assert any("write https://HOST" in reason for reason in bench.collection.not_delivering())
    wait_until(lambda: bench.status("source")["runs"] >= 3)
    assert bench.status("source")["error"] is None


@pytest.mark.parametrize("given", [None, 7, object()])
def test_what_is_no_destination_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch, given: object) -> None:
    monkeypatch.setattr(Vendor, "destination", given)
    bench.start()
    wait_until(lambda: bench.status()["error"])
    assert "predis_destination gave" in bench.status()["error"]


def test_health_tells_what_was_delivered_and_not_what_was_offered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Scripted(usual=REFUSED)
    monkeypatch.setattr(Vendor, "destination", vendor)
    bench.manager.plugins["vendor"].config = ExportConfig(deadline=0.1, metrics=["predis_level"])
    bench.start()
    wait_until(lambda: any("no such key" in reason for reason in bench.collection.not_delivering()))
    status = bench.status()
    assert status["error"] is None, "its runs are good: they only hand over"


def test_a_reload_keeps_an_unchanged_exporters_books_and_a_changed_ones_points(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Scripted()
    monkeypatch.setattr(Vendor, "destination", vendor)
    bench.start()
    wait_until(lambda: bench.status().get("export", {}).get("delivered", 0) >= 4)
    before = bench.status()["export"]["delivered"]
    first = bench.manager.plugins["vendor"].instance
    assert isinstance(first, Vendor)
    # when a reload changes nothing of it
    bench.collection.change(bench.manager.prepare(bench.config("plugins.source.deadline=4s")), bench.host, 0.1)
    assert bench.status()["export"]["delivered"] >= before
    assert (vendor.closed, first.stops) == (0, 0)
    # and when one changes it
    bench.collection.change(bench.manager.prepare(bench.config("plugins.vendor.queue=5")), bench.host, 0.1)
    assert (vendor.closed, first.stops) == (1, 1)
    wait_until(lambda: bench.status().get("export", {}).get("delivered", 0) >= 4)
    kinds = [event.kind for batch in vendor.taken for event in batch.events]
    assert kinds == ["vendor_started"] * 2, "each event once, also those from before the reload"


def test_what_waits_at_a_stop_is_on_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Scripted(usual=ConnectionError("gone"))
    monkeypatch.setattr(Vendor, "destination", vendor)
    bench.start()
    wait_until(lambda: bench.status().get("export", {}).get("spooled", 0) >= 2)
    began = time.monotonic()
    bench.collection.stop()
    assert time.monotonic() - began < 3
    assert list((bench.folder / "export" / "vendor").rglob("*.segment"))
    assert (bench.folder / "export").stat().st_mode & 0o777 == 0o700


# --- events


def test_a_log_of_events_tells_each_receiver_each_event_once() -> None:
    log = EventLog(kept=3)
    got: dict[str, list[str]] = {"a": [], "b": []}

    def emit(title: str) -> None:
        log.emit(Event(0.0, "test", title))

    emit("1")
    log.subscribe("a", lambda event: got["a"].append(event.title))
    emit("2")
    log.unsubscribe("a")
    emit("3")
    log.subscribe("a", lambda event: got["a"].append(event.title))
    emit("4")
    emit("5")
    log.subscribe("b", lambda event: got["b"].append(event.title))
    assert got == {"a": ["1", "2", "3", "4", "5"], "b": ["3", "4", "5"]}
    assert [event.title for event in log.newest()] == ["3", "4", "5"]


def test_a_receiver_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog()
    got = []
    log.subscribe("bad", lambda event: 1 / 0)  # type: ignore[arg-type, return-value]
    log.subscribe("good", got.append)
    log.emit(Event(0.0, "test", "it"))
    assert len(got) == 1


def test_an_incident_of_the_cache_is_a_span_and_its_restart_a_span_within() -> None:
    now = [100.0]
    events: list[Event] = []
    incidents = CacheIncidents(events.append, clock=lambda: now[0])
    incidents.answers()  # the first start is no incident
    incidents.down("killed", "the cache process 7 was killed by signal 9")
    now[0] = 100.5
    incidents.restarting()
    now[0] = 102.0
    incidents.down("exited", "it ended again")
    incidents.restarting()
    now[0] = 103.0
    incidents.answers()
    down, restart, whole = events
    assert (down.kind, down.time, down.duration, down.severity) == ("cache_down", 100.0, None, "error")
    assert (restart.kind, restart.time, restart.duration) == ("cache_restart", 100.5, 2.5)
    assert (whole.kind, whole.time, whole.duration) == ("cache_restarted", 100.0, 3.0)
    assert whole.attributes == {"reason": "exited", "attempts": "2"}
    assert {len(event.trace_id) for event in events} == {32}
    assert len({event.trace_id for event in events}) == 1
    assert (restart.parent_id, down.parent_id, whole.parent_id) == (whole.span_id, whole.span_id, "")
    incidents.answers()
    assert len(events) == 3
