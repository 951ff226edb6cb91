"""All plugins at work: the scheduler triggers each at its interval, and none of them waits for another.

Collectors run at their interval; exporters a moment after it, so that they get what was just collected. At the start an
export follows each plugin's first delivery, so that nobody waits an interval for the first numbers.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import logging
import threading
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Any

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from agent.export.model import Event
from agent.incidents.events import EventLog
from agent.incidents.model import Incident
from agent.metrics.history import History
from agent.metrics.model import MetricSpec, Sample
from agent.metrics.pipeline import Pipeline
from agent.metrics.self_metrics import PLUGIN_NAME, SelfMetrics
from agent.plugin.host import Host
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.manager import PluginChanges, PluginManager
from agent.plugin_worker import Explained, Found, PluginWorker

log = logging.getLogger(__name__)

TICK = 5.0  # seconds between the scheduler's own signs of life
STOP_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class _Job:
    """What the scheduler holds for a plugin: it triggers, and a trigger never blocks."""

    name: str
    work: Callable[[], None]
    interval: float
    delay: float = 0.0


class Collection:
    """The active plugins of a manager, their pipeline and their scheduler.

    own: gives the agent's own samples. beat: called by the scheduler's thread every few seconds. events: what exporters
    are told of. found: told of what detectors find. explained: told what is behind an incident, after `explain`.
    """

    def __init__(
        self,
        manager: PluginManager,
        pipeline: Pipeline,
        self_metrics: SelfMetrics,
        *,
        own: Callable[[], Iterable[Sample]],
        beat: Callable[[], None],
        events: EventLog | None = None,
        found: Found = lambda plugin, time, anomalies: None,
        explained: Explained = lambda plugin, incident, causes: None,
    ) -> None:
        self.manager = manager
        self.pipeline = pipeline
        self._self_metrics, self._own, self._beat = self_metrics, own, beat
        self._found, self._explained = found, explained
        self.events = events or EventLog()
        self._workers: dict[str, PluginWorker] = {}
        self._lock = threading.Lock()
        self._first_runs: set[str] = set()  # whose next run is followed by an export
        self._interval = 10.0
        self._life = threading.Lock()
        self._plugins_run = threading.Event()
        self._stopped = False
        # Triggers take microseconds and never block, so the scheduler's thread itself runs them: no pool of threads.
        self._scheduler = BackgroundScheduler(
            executors={"default": DebugExecutor()},
            timezone=datetime.UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self, interval: float) -> None:
        """Starts the scheduler, which collects the agent's own samples; `interval` seconds, for plugins too."""
        self._interval = interval
        self.pipeline.register(PLUGIN_NAME, interval=interval)
        self._schedule(_Job("scheduler", self._beat, TICK))
        self._schedule(_Job(PLUGIN_NAME, self._collect_own, interval))
        self._scheduler.start()

    def run_plugins(self, host: Host) -> None:
        """Starts the plugins that the manager has loaded, and collects from them at once."""
        with self._life:
            if self._stopped:
                return
            self._declare(self.manager.plugins)
            for plugin in self.manager.active:
                self._add(plugin, host)
            self._plugins_run.set()

    def wait_for_plugins(self, timeout: float) -> bool:
        """Whether the plugins run, for which it waits at most so many seconds."""
        return self._plugins_run.wait(timeout)

    def collect(self) -> None:
        """Asks every collector for a run now, and for exports after them; returns at once."""
        with self._lock:
            workers = list(self._workers.values())
            self._first_runs.update(self._workers)
        for worker in workers:
            worker.collect()

    def clock_was_set_back(self) -> None:
        """Plans all runs anew, from now on: the scheduler goes by the wall clock and would wait for the old time."""
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=datetime.datetime.now(datetime.UTC))

    def change(self, changes: PluginChanges, host: Host, interval: float) -> None:
        """Puts a prepared reload in force: what it keeps runs on, untouched unless its interval is another."""
        self._stop([plugin.name for plugin in changes.stopped])
        gone = {plugin.name for plugin in changes.stopped} - {plugin.name for plugin in changes.started}
        catalogue = self.pipeline.catalogue
        for plugin in changes.stopped:
            catalogue.remove(plugin.name)
        for name in gone:
            self.pipeline.forget(name)
        self._interval = interval
        self.manager.commit(changes)
        self._declare({plugin.name for plugin in changes.started})
        self.pipeline.register(PLUGIN_NAME, interval=interval)
        self._schedule(_Job(PLUGIN_NAME, self._collect_own, interval))
        for plugin in self.manager.active:
            worker = self._workers.get(plugin.name)
            if worker is None:
                self._add(plugin, host)
            elif worker.interval != (new := plugin.config.interval or interval):
                worker.interval = new
                caps = plugin.config
                self.pipeline.register(
                    plugin.name, max_series=caps.max_series, max_per_metric=caps.max_per_metric, interval=new
                )
                self._schedule_worker(worker)

    def explain(self, incident: Incident, history: History) -> None:
        """Asks every plugin that can for an incident's causes; returns at once."""
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.explain(incident, history)

    def detectors(self) -> set[str]:
        """The names of the plugins that look for anomalies."""
        with self._lock:
            return {name for name, worker in self._workers.items() if worker.detects}

    def stop(self) -> None:
        """Ends collecting and exporting, and stops the plugins; takes little more than STOP_TIMEOUT seconds."""
        with self._life:
            self._stopped = True
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
        self._stop(list(self._workers))

    def not_delivering(self) -> list[str]:
        """Why each plugin that should deliver does not: a sentence for each."""
        if not self._plugins_run.is_set():
            return ["the plugins are being loaded"]
        with self._lock:
            workers = list(self._workers.values())
        late = [reason for worker in workers if (reason := worker.late()) is not None]
        gone = [p for p in list(self.manager.plugins.values()) if p.state in ("failed", "missing") and p.wanted]
        return [f"plugin {plugin.name} could not be loaded: {plugin.error}" for plugin in gone] + late

    def status(self) -> list[dict[str, Any]]:
        """One entry for each plugin that is installed or configured, by name."""
        with self._lock:
            workers = dict(self._workers)
        return [
            workers[name].status() if name in workers else _idle(plugin)
            for name, plugin in sorted(self.manager.plugins.items())
        ]

    def _declare(self, names: Container[str]) -> None:
        def add(name: str, specs: tuple[MetricSpec, ...]) -> None:
            if name in names:
                self.pipeline.catalogue.add(name, specs)

        self.manager.declare(add)

    def _add(self, plugin: LoadedPlugin, host: Host) -> None:
        logger = logging.getLogger(f"predis.plugins.{plugin.name}")
        own_host = dataclasses.replace(host, logger=logger, emit=self.events.emit)
        interval = plugin.config.interval or self._interval
        worker = PluginWorker(
            plugin,
            own_host,
            self.pipeline,
            interval,
            self._ran,
            self._changed,
            self.events,
            found=self._found,
            explained=self._explained,
        )
        with self._lock:
            self._workers[plugin.name] = worker
            self._first_runs.add(plugin.name)
        self._schedule_worker(worker)

    def _schedule_worker(self, worker: PluginWorker) -> None:
        name = worker.plugin.name
        self._schedule(_Job(f"collect {name}", worker.collect, worker.interval))
        if worker.exports:
            self._schedule(_Job(f"export {name}", worker.export, worker.interval, min(1.0, worker.interval / 4)))

        if worker.detects:
            # After the collectors, and not at the moment in which exporters take their snapshots.
            self._schedule(_Job(f"detect {name}", worker.detect, worker.interval, min(2.0, worker.interval / 2)))

    def _schedule(self, job: _Job) -> None:
        first = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=job.delay)
        self._scheduler.add_job(
            job.work, "interval", seconds=job.interval, id=job.name, next_run_time=first, replace_existing=True
        )

    def _collect_own(self) -> None:
        with self._lock:
            workers = list(self._workers.values())
        of_exporters = itertools.chain.from_iterable(worker.export_samples() for worker in workers)
        self.pipeline.accept(PLUGIN_NAME, itertools.chain(self._own(), of_exporters))

    def _changed(self, name: str, change: str, what: str) -> None:
        """A plugin went into quarantine, or works again; on the plugin's thread."""
        if change == "quarantined":
            event = Event(time.time(), "plugin_quarantined", f"Plugin {name} is in quarantine", what, "error")
        else:
            event = Event(time.time(), "plugin_recovered", f"Plugin {name} works again", what)
        self.events.emit(dataclasses.replace(event, attributes={"plugin": name}))

    def _ran(self, name: str, seconds: float, outcome: str) -> None:
        """After each run, on the plugin's thread."""
        self._self_metrics.runs(name, seconds, outcome)
        with self._lock:
            first = name in self._first_runs
            self._first_runs.discard(name)
            # Not those with a destination: each export is a point of every series.
            workers = self._workers.values() if first else ()
            exporters = [worker for worker in workers if worker.exports and not worker.ships]
        for worker in exporters:
            if worker.plugin.name != name:
                worker.export()

    def _stop(self, names: Iterable[str]) -> None:
        with self._lock:
            workers = [worker for name in names if (worker := self._workers.pop(name, None)) is not None]
        for worker, kind in itertools.product(workers, ("collect", "export", "detect")):
            job = f"{kind} {worker.plugin.name}"
            if self._scheduler.get_job(job) is not None:
                self._scheduler.remove_job(job)
        threads = [
            threading.Thread(target=worker.stop, args=(STOP_TIMEOUT,), name=f"stop {worker.plugin.name}", daemon=True)
            for worker in workers
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + STOP_TIMEOUT + 1.0
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _idle(plugin: LoadedPlugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "state": str(plugin.state),
        "distribution": plugin.distribution,
        "last_success_seconds_ago": None,
        "runs": 0,
        "failures": 0,
        "overdue": 0,
        "series": 0,
        "dropped": {},
        "note": None,
        "error": plugin.error,
    }
