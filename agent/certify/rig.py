"""Takes a plugin through its life as the host does, and sees what it leaves behind."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

from agent import __version__
from agent.certify.candidate import Candidate
from agent.config.load import LoadedConfig, load_config
from agent.config.locate import format_key
from agent.export.config import ExportConfig
from agent.export.model import Event
from agent.metrics.catalogue import Catalogue
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample, SeriesKey, Snapshot
from agent.metrics.pipeline import Pipeline
from agent.plugin.guard import Guarded, Overdue, Raised, describe, origin
from agent.plugin.host import CacheAddress, Host
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginManager
from agent.rules.extension import Now

CLOSED = "http://127.0.0.1:9"  # where nobody listens: exporters are to cope with that, and to reach no vendor
_SETTLE = 2.0  # seconds that threads may take to end after predis_stop

SPECS = (
    MetricSpec("predis_certify_level", Kind.gauge, "A level.", "", ("who",)),
    MetricSpec("predis_certify_seen_total", Kind.counter, "Things seen."),
    MetricSpec("predis_certify_time_seconds", Kind.histogram, "Times.", "seconds"),
)
SAMPLES = (
    Sample("predis_certify_level", 2.5, ("a",)),
    Sample("predis_certify_seen_total", 7.0),
    Sample("predis_certify_time_seconds", Histogram((0.1, 1.0), (3, 2, 1), 4.5)),
)
EVENT = Event(time.time(), "certified", "A certification is under way", "It ends soon.", attributes={"who": "a"})

Result = TypeVar("Result")


class Rig:
    """A plugin, the folder for its data, and the settings (KEY=VALUE in its table) that it is certified with."""

    def __init__(self, candidate: Candidate, settings: Sequence[str], folder: Path) -> None:
        self.candidate, self.folder = candidate, folder
        self.settings = list(settings)
        self.events: list[Event] = []
        self.said: list[str] = []  # what actions and conditions said, which people see
        self.manager: PluginManager | None = None

    def config(self, *more: str) -> LoadedConfig:
        """agent.toml with the plugin's sample in it, and what is set besides."""
        file = self.folder / "agent.toml"
        sample = self.candidate.sample
        file.write_text(sample.read_text(encoding="utf-8") if sample.is_file() else "", encoding="utf-8")
        data = f"agent.data_dir={self.folder}"
        return load_config(file, [data, *(self._key(setting) for setting in (*self.settings, *more))], {})

    def load(self, *more: str) -> LoadedPlugin:
        """The plugin, anew, loaded as the host loads it; the test fails when it cannot be."""
        self.manager = PluginManager(self.config(*more), [self.candidate.entry_point], isolate=False)
        self.manager.load()
        plugin = self.manager.plugins[self.candidate.name]
        if plugin.state == "disabled" and not any(s.startswith("enabled=") for s in self.settings):
            self.settings.append("enabled=true")  # as users do with one whose sample says false
            return self.load(*more)
        if isinstance(plugin.config, ExportConfig) and not any(s.startswith("endpoint=") for s in self.settings):
            self.settings.append(f"endpoint={CLOSED}")
            return self.load(*more)
        if plugin.state != "active":
            problems = "\n".join(map(str, plugin.problems)) or "it is disabled in its sample"
            pytest.fail(f"it cannot be loaded:\n{problems}", pytrace=False)
        return plugin

    def run(self, plugin: LoadedPlugin) -> list[Sample]:
        """A whole life: start, twice collect, export and detect, stop. Gives what was collected last."""
        self.timed(plugin, "predis_start", lambda: plugin.start(self.host()))
        samples: list[Sample] = []
        for _ in range(2):
            samples = self.collect(plugin)
            snapshot = self.snapshot(plugin, samples)
            self.timed(plugin, "predis_export", partial(plugin.export, snapshot))
            self.timed(plugin, "predis_detect", partial(plugin.detect, snapshot))
        self.timed(plugin, "predis_stop", plugin.stop)
        return samples

    def collect(self, plugin: LoadedPlugin) -> list[Sample]:
        """One collect; the test fails when a strict pipeline would not take what it gives."""
        samples = self.timed(plugin, "predis_collect", lambda: list(plugin.collect()))
        catalogue = Catalogue()
        catalogue.add(plugin.name, plugin.specs)
        pipeline = Pipeline(catalogue, strict=True)
        caps = plugin.config
        pipeline.register(plugin.name, max_series=caps.max_series, max_per_metric=caps.max_per_metric)
        try:
            pipeline.accept(plugin.name, samples)
        except Exception as error:  # noqa: BLE001  # SampleError, or what comes of something that is no sample
            pytest.fail(f"predis_collect: {error}", pytrace=False)
        return samples

    def timed(self, plugin: LoadedPlugin, what: str, call: Callable[[], Result], deadline: float = 0.0) -> Result:
        """What a call gives; the test fails when it raises or takes longer than the plugin's deadline (seconds)."""
        deadline = deadline or plugin.config.deadline
        try:
            return Guarded(call, what).result(deadline)
        except Overdue:
            pytest.fail(f"{what} takes longer than the deadline of {deadline:g} s", pytrace=False)
        except Raised as raised:
            file, line = origin(raised.error)
            pytest.fail(
                f"{what} raises {describe(raised.error)}" + (f" ({file}:{line})" if file else ""), pytrace=False
            )

    def host(self) -> Host:
        """What the plugin is told: there is no cache at that address."""
        address = CacheAddress(self.folder / "cache.sock", "127.0.0.1", 9, None, self.folder / "cache.arena")
        logger = logging.getLogger(f"predis.plugins.{self.candidate.name}")
        return Host(self.folder, address, __version__, logger, self.events.append)

    @staticmethod
    def snapshot(plugin: LoadedPlugin, samples: Sequence[Sample]) -> Snapshot:
        """The plugin's own series, and one of every kind."""
        every = {sample.key: sample for sample in (*SAMPLES, *samples)}
        return Snapshot(time.time(), every, {spec.name: spec for spec in (*SPECS, *plugin.specs)})

    def now(self, snapshot: Snapshot | None = None) -> Now:
        """What conditions and actions look at: one of every kind, and nothing before."""
        snapshot = snapshot or Snapshot(
            time.time(), {sample.key: sample for sample in SAMPLES}, {s.name: s for s in SPECS}
        )
        return Now(snapshot.time, snapshot, _NoHistory())

    def state(self, without: str = "") -> dict[str, bytes | int]:
        """What a plugin can be seen to change: files of the data folder with their contents, and events told.
        `without`: a folder in it that does not count."""
        found: dict[str, bytes | int] = {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }
        found = {name: data for name, data in found.items() if not without or not name.startswith(f"{without}/")}
        return {**found, "events": len(self.events)}

    def _key(self, setting: str) -> str:
        return f"{format_key(('plugins', self.candidate.name))}.{setting}"


class _NoHistory:
    """Nothing was ever measured."""

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        return ()

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        return ()

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        return iter(())

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        return ()

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        return {}


def fail(what: str) -> NoReturn:
    """The check fails with this, which is for people."""
    pytest.fail(what, pytrace=False)


def held() -> dict[str, int]:
    """Threads by name and open files by what they are, of this process; threads that are ending are waited for."""
    gc.collect()
    counts: dict[str, int] = {}
    for thread in threading.enumerate():
        name = f"thread {thread.name}"
        counts[name] = counts.get(name, 0) + 1
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # the listing's own
            continue
        name = f"open {target.split(':[')[0]}"  # socket:[4711] is another one each time
        counts[name] = counts.get(name, 0) + 1
    return counts


def grown(before: dict[str, int]) -> list[str]:
    """What there is more of than before, once all has had time to end."""
    deadline = time.monotonic() + _SETTLE
    while True:
        more = [name for name, count in held().items() if count > before.get(name, 0)]
        # Threads are numbered (Thread-7), so names alone do not tell: a new name counts if there are more in all.
        if not more or sum(held().values()) <= sum(before.values()):
            return []
        if time.monotonic() > deadline:
            return sorted(more)
        time.sleep(0.02)
