"""All plugins at work: first numbers at once, nobody waits for anybody, a reload touches only what changed."""

import datetime
import importlib.metadata
import itertools
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from agent.api import CacheAddress, Host, Kind, MetricSpec, PluginConfig, Sample, Snapshot, hookimpl
from agent.collection import Collection
from agent.config.load import LoadedConfig, load_config
from agent.metrics.catalogue import Catalogue
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import PLUGIN_NAME, SelfMetrics
from agent.plugin.manager import PluginManager
from tests.waiting import wait_until

HOUR = 3600.0


def spec(name: str) -> MetricSpec:
    return MetricSpec(f"predis_{name}_level", Kind.gauge, "A level.")


class Recorder:
    """Base of the test's plugins: what was called, in order."""

    api_version = 1
    name = "recorder"

    def __init__(self, config: PluginConfig) -> None:
        self.config = config
        self.calls: list[str] = []


class Level(Recorder):
    """A collector."""

    name = "level"

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return [spec(self.name)]

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self.calls.append("start")

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        self.calls.append("collect")
        return self.measure()

    def measure(self) -> Iterable[Sample]:
        return [Sample(f"predis_{self.name}_level", 1.0)]

    @hookimpl
    def predis_stop(self) -> None:
        self.calls.append("stop")


class Other(Level):
    name = "other"


class Hanging(Level):
    """Hangs in its first run until it is let go."""

    name = "hanging"
    let_go = threading.Event()

    def measure(self) -> Iterable[Sample]:
        self.let_go.wait(30)
        return super().measure()


class HangingStart(Level):
    """Hangs in its first start until it is let go."""

    name = "hangingstart"
    let_go = threading.Event()

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self.let_go.wait(30)


class Crashing(Level):
    name = "crashing"

    def measure(self) -> Iterable[Sample]:
        raise OSError("the sensor is gone")


class Flooding(Level):
    name = "flooding"

    def measure(self) -> Iterable[Sample]:
        while True:
            yield Sample("predis_nobody_knows_this", 1.0)


class Shelves(Level):
    """Has one metric of many series, and one of few."""

    name = "shelves"

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return [*super().predis_metric_specs(), MetricSpec("predis_shelf", Kind.gauge, "A shelf.", labels=("number",))]

    def measure(self) -> Iterable[Sample]:
        shelves = [Sample("predis_shelf", 1.0, (str(number),)) for number in range(20)]
        return [*shelves, *super().measure()]


class Silent(Level):
    """Has nothing to measure."""

    name = "silent"

    def measure(self) -> Iterable[Sample]:
        return []


class NeverStarts(Level):
    name = "neverstarts"

    @hookimpl
    def predis_start(self, host: Host) -> None:
        raise OSError("port 1 is in use")


class Exporter(Recorder):
    name = "exporter"

    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        self.snapshots: list[Snapshot] = []

    @hookimpl
    def predis_export(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


class HangingExporter(Exporter):
    name = "hangingexporter"
    let_go = threading.Event()

    @hookimpl
    def predis_export(self, snapshot: Snapshot) -> None:
        self.let_go.wait(30)


class Both(Level):
    """Collects and exports, and takes its time to start."""

    name = "both"

    @hookimpl
    def predis_start(self, host: Host) -> None:
        threading.Event().wait(0.3)
        self.calls.append("start")

    @hookimpl
    def predis_export(self, snapshot: Snapshot) -> None:
        self.calls.append("export")


CLASSES: dict[str, type[Recorder]] = {
    cls.name: cls
    for cls in (
        Level, Other, Hanging, HangingStart, Crashing, Flooding, Shelves, Silent, NeverStarts, Exporter,
        HangingExporter, Both,
    )
}  # fmt: skip


@pytest.fixture
def plugins_module(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with the plugins."""
    module = ModuleType("predis_test_plugins")
    for cls in CLASSES.values():
        setattr(module, cls.__name__, cls)
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    return module.__name__


class Bench:
    """A collection of some of the plugins, on one configuration and then another."""

    def __init__(self, module: str, folder: Path) -> None:
        self._module = module
        self.folder = folder
        self.own_runs = 0
        self.beats = 0
        self.host = Host(
            folder,
            CacheAddress(folder / "cache.sock", "127.0.0.1", 0, None, folder / "cache.arena"),
            "0",
            logging.getLogger("test"),
        )

    def config(self, *names: str, settings: Sequence[str] = ()) -> LoadedConfig:
        disabled = [f"plugins.{name}.enabled=false" for name in CLASSES if name not in names]
        return load_config(None, [f"agent.data_dir={self.folder}", *disabled, *settings], {})

    def start(self, *names: str, interval: float = HOUR, settings: Sequence[str] = (), run: bool = True) -> Collection:
        points = [
            importlib.metadata.EntryPoint(name, f"{self._module}:{cls.__name__}", "predis_agent.plugins")
            for name, cls in CLASSES.items()
        ]
        manager = PluginManager(self.config(*names, settings=settings), points)
        manager.load()
        catalogue = Catalogue()
        pipeline = Pipeline(catalogue, interval=interval)
        self.self_metrics = SelfMetrics("0", pipeline)
        catalogue.add(PLUGIN_NAME, self.self_metrics.specs())
        self.collection = Collection(
            manager, pipeline, self.self_metrics, own=self.self_metrics.collect, beat=self._beat
        )
        self.collection.start(interval)
        if run:
            self.collection.run_plugins(self.host)
        return self.collection

    def reload(self, *names: str, interval: float = HOUR, settings: Sequence[str] = ()) -> None:
        changes = self.collection.manager.prepare(self.config(*names, settings=settings))
        self.collection.change(changes, self.host, interval)

    def plugin(self, name: str) -> Any:
        return self.collection.manager.plugins[name].instance

    def status(self, name: str) -> Any:
        return SimpleNamespace(**next(entry for entry in self.collection.status() if entry["name"] == name))

    def has(self, name: str) -> bool:
        return (f"predis_{name}_level", ()) in self.collection.pipeline.snapshot().samples

    def _beat(self) -> None:
        self.beats += 1


@pytest.fixture
def bench(plugins_module: str, tmp_path: Path) -> Iterator[Bench]:
    for hanging in (Hanging, HangingStart, HangingExporter):
        hanging.let_go.clear()
    bench = Bench(plugins_module, tmp_path)
    yield bench
    for hanging in (Hanging, HangingStart, HangingExporter):
        hanging.let_go.set()
    bench.collection.stop()


def test_the_first_collection_is_at_once_and_the_first_export_has_it(bench: Bench) -> None:
    # given an interval of an hour
    bench.start("level", "other", "exporter")

    # then nobody waits for it
    def exported() -> bool:
        snapshots = bench.plugin("exporter").snapshots
        names = {key[0] for key in snapshots[-1].samples} if snapshots else set()
        return {"predis_level_level", "predis_other_level", "predis_build_info"} <= names

    wait_until(exported, 3, "an export with the first numbers")
    assert bench.collection.not_delivering() == []
    assert bench.beats >= 1


def test_until_the_plugins_are_loaded_that_is_why_nothing_is_delivered(bench: Bench) -> None:
    bench.start("level", run=False)

    wait_until(lambda: bench.beats, what="the scheduler to go on meanwhile")
    assert bench.collection.not_delivering() == ["the plugins are being loaded"]
    assert not bench.collection.wait_for_plugins(0)

    bench.collection.run_plugins(bench.host)
    wait_until(lambda: bench.collection.not_delivering() == [], what="deliveries")


def test_plugins_that_are_loaded_after_the_stop_do_not_run(bench: Bench) -> None:
    bench.start("level", run=False)
    bench.collection.stop()

    bench.collection.run_plugins(bench.host)

    assert bench.plugin("level").calls == []


def test_collectors_run_at_their_intervals(bench: Bench) -> None:
    bench.start("level", "other", interval=0.1, settings=['plugins.other.interval="1h"'])

    wait_until(lambda: bench.plugin("level").calls.count("collect") >= 5, 10, "five collections")

    assert bench.plugin("other").calls.count("collect") == 1
    assert bench.status("level").interval == 0.1
    assert bench.status("other").interval == HOUR


def test_a_hanging_plugin_delays_nobody_and_is_named(bench: Bench) -> None:
    bench.start("level", "hanging", "exporter", interval=0.1, settings=['plugins.hanging.deadline="0.2s"'])

    wait_until(lambda: bench.status("hanging").state == "hung", 10, "the hung plugin to be named")
    before = bench.plugin("level").calls.count("collect")
    exports = len(bench.plugin("exporter").snapshots)
    wait_until(lambda: bench.plugin("level").calls.count("collect") >= before + 5, 10, "more collections")
    wait_until(lambda: len(bench.plugin("exporter").snapshots) >= exports + 5, 10, "more exports")

    assert bench.plugin("hanging").calls.count("collect") == 1
    assert bench.status("hanging").overdue == 1
    [reason] = bench.collection.not_delivering()
    assert "hanging" in reason
    assert "deadline" in reason


def test_a_crashing_plugin_is_named_and_the_others_go_on(bench: Bench) -> None:
    bench.start("level", "crashing", interval=0.1)

    wait_until(lambda: bench.status("crashing").failures >= 2, 10, "failures")
    wait_until(lambda: bench.plugin("level").calls.count("collect") >= 5, 10, "collections")

    assert "the sensor is gone" in bench.status("crashing").error
    assert bench.status("crashing").state in ("backing off", "active")
    assert bench.collection.not_delivering() == [
        f"plugin crashing has delivered nothing yet: {bench.status('crashing').error}"
    ]
    assert bench.status("level").error is None


def test_a_flooding_plugin_is_cut_off_and_its_drops_are_counted(bench: Bench) -> None:
    bench.start("level", "flooding", settings=["plugins.flooding.max_series=10"])

    wait_until(lambda: bench.status("flooding").runs == 1, 10, "its run to end")

    assert bench.status("flooding").dropped == {"uncatalogued": 40, "flood": 1}
    wait_until(lambda: bench.has("level"), what="the other's numbers")
    assert any("flooding" in reason for reason in bench.collection.not_delivering())


def test_one_metric_of_many_series_leaves_room_for_the_others(bench: Bench) -> None:
    bench.start("shelves", settings=["plugins.shelves.max_series=20", "plugins.shelves.max_per_metric=5"])
    wait_until(lambda: bench.status("shelves").runs == 1, 10, "its run")
    status = bench.status("shelves")
    assert (status.series, status.dropped) == (6, {"metric_series": 15})
    assert status.offenders == [("predis_shelf", "metric_series", 15)]
    # a reload applies another cap, and another interval alone leaves it in force
    settings = ["plugins.shelves.max_series=40", "plugins.shelves.max_per_metric=8"]
    bench.reload("shelves", settings=settings)
    wait_until(lambda: bench.status("shelves").series == 9, 10, "room for three more")
    bench.reload("shelves", interval=0.1, settings=settings)
    runs = bench.status("shelves").runs
    wait_until(lambda: bench.status("shelves").runs > runs + 1, 10, "two more runs")
    assert bench.status("shelves").series == 9


def test_a_plugin_with_nothing_to_measure_delivers_all_it_has(bench: Bench) -> None:
    bench.start("silent")

    wait_until(lambda: bench.status("silent").runs == 1, 10, "its run")
    assert bench.collection.not_delivering() == []


def test_a_plugin_that_fails_to_start_is_tried_again_and_named(bench: Bench) -> None:
    bench.start("neverstarts", interval=0.1)

    wait_until(lambda: bench.status("neverstarts").failures >= 2, 10, "another attempt")
    assert "port 1 is in use" in bench.status("neverstarts").error
    assert bench.plugin("neverstarts").calls == []


def test_a_hanging_exporter_delays_neither_collectors_nor_other_exporters(bench: Bench) -> None:
    bench.start("level", "exporter", "hangingexporter", interval=0.1)

    wait_until(lambda: bench.plugin("level").calls.count("collect") >= 5, 10, "collections")
    wait_until(lambda: len(bench.plugin("exporter").snapshots) >= 5, 10, "exports")


def test_each_plugin_is_started_before_it_collects_and_stopped_after(bench: Bench) -> None:
    bench.start("level")
    wait_until(lambda: bench.has("level"), what="its numbers")
    plugin = bench.plugin("level")

    bench.collection.stop()

    assert plugin.calls[0] == "start"
    assert plugin.calls[-1] == "stop"
    assert set(plugin.calls[1:-1]) == {"collect"}
    assert plugin.calls.count("start") == plugin.calls.count("stop") == 1


def test_stopping_leaves_a_hanging_plugin_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.collection.STOP_TIMEOUT", 0.3)
    bench.start("level", "hanging")
    wait_until(lambda: bench.plugin("hanging").calls == ["start", "collect"], what="the hang")
    level, hanging = bench.plugin("level"), bench.plugin("hanging")

    start = time.monotonic()
    bench.collection.stop()

    assert time.monotonic() - start < 3
    assert level.calls[-1] == "stop"
    assert "stop" not in hanging.calls


def test_asking_for_a_collection_brings_one_and_an_export(bench: Bench) -> None:
    bench.start("level", "exporter")
    wait_until(lambda: bench.collection.not_delivering() == [], what="the first numbers")
    # the export that the scheduler has planned for the first second must not be taken for the one asked for
    wait_until(lambda: len(bench.plugin("exporter").snapshots) >= 2, 5, "the first exports")
    collections = bench.plugin("level").calls.count("collect")
    exports = len(bench.plugin("exporter").snapshots)

    bench.collection.collect()

    wait_until(lambda: bench.plugin("level").calls.count("collect") == collections + 1, 5, "another collection")
    wait_until(lambda: len(bench.plugin("exporter").snapshots) > exports, 5, "another export")


def test_a_clock_that_is_set_back_stops_no_collection(bench: Bench) -> None:
    # given a clock that is an hour behind what the scheduler has planned
    collection = bench.start("level", interval=0.1)
    wait_until(lambda: bench.has("level"), what="its numbers")
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    for job in collection._scheduler.get_jobs():
        job.modify(next_run_time=future)

    # when that is noticed
    collection.clock_was_set_back()

    # then collections go on
    before = bench.plugin("level").calls.count("collect")
    wait_until(lambda: bench.plugin("level").calls.count("collect") >= before + 3, 5, "more collections")


# --- reload


def test_what_a_reload_does_not_change_keeps_its_instance_and_counters(bench: Bench) -> None:
    bench.start("level")
    wait_until(lambda: bench.has("level"), what="its numbers")
    instance = bench.plugin("level")

    bench.reload("level", "other")

    assert bench.plugin("level") is instance
    assert "stop" not in instance.calls
    assert bench.status("level").runs >= 1
    wait_until(lambda: bench.has("other"), 5, "the new plugin's numbers, at once")


def test_a_plugin_that_is_disabled_stops_and_its_series_go(bench: Bench) -> None:
    bench.start("level", "other")
    wait_until(lambda: bench.has("level") and bench.has("other"), what="their numbers")
    instance = bench.plugin("other")

    bench.reload("level")

    assert instance.calls[-1] == "stop"
    assert not bench.has("other")
    assert bench.status("other").state == "disabled"
    assert bench.collection.pipeline.catalogue.get("predis_other_level") is None


def test_a_plugin_with_other_settings_is_a_new_instance_and_its_series_stay(bench: Bench) -> None:
    bench.start("level")
    wait_until(lambda: bench.has("level"), what="its numbers")
    instance = bench.plugin("level")

    bench.reload("level", settings=["plugins.level.max_series=5"])

    assert instance.calls[-1] == "stop"
    assert bench.plugin("level") is not instance
    assert bench.has("level")
    wait_until(lambda: bench.plugin("level").calls == ["start", "collect"], what="the new one's collection")


class Answers:
    """What runs of a plugin give, and when: the first waits to be let go."""

    def __init__(self) -> None:
        self.let_go, self.first_is_over = threading.Event(), threading.Event()
        self._numbers = itertools.count(1)

    def __call__(self) -> Iterator[Sample]:
        number = next(self._numbers)
        if number == 1:
            self.let_go.wait(30)
        yield Sample("predis_level_level", number)
        if number == 1:
            self.first_is_over.set()


def test_a_hung_run_that_ends_after_a_reload_delivers_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # given a plugin that hangs in a run
    monkeypatch.setattr("agent.collection.STOP_TIMEOUT", 0.2)
    answers = Answers()
    monkeypatch.setattr(Level, "measure", lambda plugin: answers())
    bench.start("level")
    wait_until(lambda: bench.plugin("level").calls == ["start", "collect"], what="the hang")
    hung = next(thread for thread in threading.enumerate() if thread.name == "plugin level")

    # when it is restarted with other settings, and the old run then ends
    bench.reload("level", settings=["plugins.level.max_series=5"])
    wait_until(lambda: bench.has("level"), what="the new one's number")
    answers.let_go.set()
    assert answers.first_is_over.wait(10)
    hung.join(10)

    # then the new one's number stands
    samples = bench.collection.pipeline.snapshot().samples
    assert samples["predis_level_level", ()].value == 2
    assert not hung.is_alive()


def test_a_plugin_that_hung_when_it_was_disabled_does_not_come_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.collection.STOP_TIMEOUT", 0.2)
    bench.start("level", "hangingstart")
    wait_until(lambda: bench.status("hangingstart").running_for is not None, what="the hang")
    hung = next(thread for thread in threading.enumerate() if thread.name == "plugin hangingstart")
    instance = bench.plugin("hangingstart")

    bench.reload("level")
    HangingStart.let_go.set()
    hung.join(10)

    assert not hung.is_alive()
    assert instance.calls == []
    assert "hangingstart" not in bench.collection.pipeline.plugins()


def test_another_interval_counts_for_plugins_that_go_on(bench: Bench) -> None:
    bench.start("level")
    wait_until(lambda: bench.has("level"), what="its numbers")
    instance = bench.plugin("level")

    bench.reload("level", interval=0.05)

    assert bench.plugin("level") is instance
    wait_until(lambda: instance.calls.count("collect") >= 5, 10, "collections at the new interval")


def test_a_disabled_plugin_comes_back(bench: Bench) -> None:
    bench.start("level")
    wait_until(lambda: bench.has("level"), what="its numbers")
    bench.reload()
    assert not bench.has("level")

    bench.reload("level")

    wait_until(lambda: bench.has("level"), 5, "its numbers again")


def test_metrics_of_the_runs_name_the_plugin(bench: Bench) -> None:
    bench.start("level", "crashing", interval=0.1)

    def counted() -> bool:
        samples = bench.collection.pipeline.snapshot().samples
        runs = samples.get(("predis_plugin_runs_total", ("level",)))
        failures = samples.get(("predis_plugin_failures_total", ("crashing", "exception")))
        return bool(runs and failures and float_of(runs) >= 2 and float_of(failures) >= 1)

    wait_until(counted, 10, "counted runs and failures")


def float_of(sample: Sample) -> float:
    assert isinstance(sample.value, (int, float))
    return sample.value


def test_a_plugin_that_collects_and_exports_starts_once(bench: Bench) -> None:
    """Its two threads both come to predis_start at the same time."""
    bench.start("both")

    wait_until(lambda: bench.has("both") and "export" in bench.plugin("both").calls, what="both of its runs")

    calls = bench.plugin("both").calls
    assert calls[0] == "start"
    assert calls.count("start") == 1
