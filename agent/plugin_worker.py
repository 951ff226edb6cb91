"""One plugin at work: it is started, collects or exports when triggered, and is stopped, all on threads of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from agent.export import report
from agent.export.config import ExportConfig
from agent.export.cost import Estimate
from agent.export.pipe import ExportPipe
from agent.incidents.events import EventLog
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.history import History
from agent.metrics.model import Sample, Snapshot
from agent.metrics.pipeline import Pipeline
from agent.plugin.guard import Guarded, Overdue, Raised, describe
from agent.plugin.host import Host
from agent.plugin.loaded import LoadedPlugin
from agent.plugin.runner import OnChange, OnRun, PluginRunner

log = logging.getLogger(__name__)

Found = Callable[[str, float, Sequence[Anomaly]], None]
"""Told after each look of a detector: its plugin's name, the snapshot's time, and the anomalies that last then."""

Explained = Callable[[str, str, Sequence[Cause]], None]
"""Told what a plugin takes for the causes of an incident: its name, the incident's id, and the causes."""

LATE_INTERVALS = 3  # a plugin is late when it delivered nothing for so many intervals, and a deadline
_LEAST_DRAIN = 0.5  # seconds that an exporter's pipe has to put everything away, though a run hangs


class PluginWorker:
    """Runs a plugin's hooks. `interval` is in seconds; `on_run` is called after every run, on the plugin's thread.

    predis_start belongs to the first run, so that a plugin that hangs or fails there is counted, named and tried again
    like any other failure.
    """

    def __init__(
        self,
        plugin: LoadedPlugin,
        host: Host,
        pipeline: Pipeline,
        interval: float,
        on_run: OnRun = lambda name, seconds, outcome: None,
        on_change: OnChange = lambda name, change, what: None,
        events: EventLog | None = None,
        found: Found = lambda plugin, time, anomalies: None,
        explained: Explained = lambda plugin, incident, causes: None,
    ) -> None:
        self.plugin = plugin
        self.interval = interval
        self.collects = plugin.implements("predis_collect")
        self.ships = plugin.implements("predis_destination")
        self.exports = self.ships or plugin.implements("predis_export")
        self.detects = plugin.implements("predis_detect")
        self.explains = plugin.implements("predis_causes")
        self._on_change, self._events, self._found, self._explained = on_change, events, found, explained
        self._questions: dict[str, tuple[Incident, History]] = {}  # the newest state of incidents that nobody looked at
        self._pipe: ExportPipe | None = None
        self._estimate = Estimate()
        self._stopped = False
        self._host, self._pipeline = host, pipeline
        self._deadline = plugin.config.deadline
        self._start_lock, self._pipe_lock = threading.Lock(), threading.Lock()
        self._started = False
        self._began = time.monotonic()
        self._delivered: float | None = None
        self._note: str | None = None  # read on the plugin's own threads alone: it may be a property that blocks
        caps = plugin.config
        pipeline.register(
            plugin.name,
            max_series=caps.max_series,
            max_per_metric=caps.max_per_metric,
            interval=interval,
            owner=self,
        )
        lone = not (self.exports or self.detects)
        self._collector = self._runner(self._collect, on_run) if self.collects or lone else None
        self._exporter = self._runner(self._export, on_run, keep_newest=True) if self.exports else None
        self._detector = self._runner(self._detect, on_run, keep_newest=True) if self.detects else None
        self._explainer = self._runner(self._explain, on_run, keep_newest=True) if self.explains else None

    def _runner(self, work: Callable[[Any], int | None], on_run: OnRun, keep_newest: bool = False) -> PluginRunner:
        return PluginRunner(
            self.plugin.name,
            work,
            deadline=self._deadline,
            interval=self.interval,
            keep_newest=keep_newest,
            on_run=on_run,
            on_change=self._on_change,
        )

    def collect(self) -> None:
        """Asks for a collection; returns at once. A plugin that neither collects nor exports is started by it."""
        if self._collector is not None and (self.collects or not self._started):
            self._collector.trigger()

    def export(self) -> None:
        """Asks for an export of what is newest then; returns at once."""
        if self._exporter is not None:
            self._exporter.trigger()

    def detect(self) -> None:
        """Asks for a look at what is newest then; returns at once."""
        if self._detector is not None:
            self._detector.trigger()

    def explain(self, incident: Incident, history: History) -> None:
        """Asks for an incident's causes; returns at once."""
        if self._explainer is not None:
            self._questions[incident.id] = (incident, history)
            self._explainer.trigger()

    def stop(self, timeout: float) -> None:
        """Lets a run end, then calls predis_stop; `timeout` seconds in all. A plugin that hangs is left behind."""
        try:
            self._stop(time.monotonic() + timeout)
        finally:
            self.plugin.abandon()

    def _stop(self, deadline: float) -> None:
        ended = [runner.stop(max(0.0, deadline - time.monotonic())) for runner in self._runners()]
        with self._pipe_lock:
            self._stopped = True
        if self._pipe is not None:  # what it holds is to be kept, whatever hangs
            if self._events is not None:
                self._events.unsubscribe(self.plugin.name)
            self._pipe.stop(max(_LEAST_DRAIN, (deadline - time.monotonic()) / 2))
        if not all(ended):
            log.warning("plugin %s still hangs in a run: it is left behind", self.plugin.name)
            return
        if not self._started:
            return
        try:
            Guarded(self.plugin.stop, f"stop {self.plugin.name}").result(max(0.1, deadline - time.monotonic()))
        except Overdue:
            log.warning("plugin %s hangs in predis_stop: it is left behind", self.plugin.name)
        except Raised as raised:
            log.warning("plugin %s failed in predis_stop: %s", self.plugin.name, describe(raised.error))

    def late(self) -> str | None:
        """Why it counts as not delivering, in a sentence; None for one that delivers, or has nothing to deliver.

        An exporter with a destination delivers when its vendor takes points; a collector, when it gives samples.
        """
        now, patience = time.monotonic(), LATE_INTERVALS * self.interval + self._deadline
        if self._pipe is not None and (reason := report.late(self._pipe, patience)) is not None:
            return reason
        # Before its first snapshot, an exporter has no pipe; that is wrong only if it stays like this.
        unstarted = self.ships and self._pipe is None and (now - self._began > patience or self._failing())
        if not self.collects and not unstarted:
            return None
        if self._delivered is not None and now - self._delivered <= patience:
            return None
        error = self.status()["error"]
        because = f": {error}" if error else ""
        if self._delivered is None:
            return f"plugin {self.plugin.name} has delivered nothing yet{because}"
        return f"plugin {self.plugin.name} has delivered nothing for {now - self._delivered:.0f} s{because}"

    def status(self) -> dict[str, Any]:
        """Its entry in the status document: the runs of its collector, else of its exporter, and its series."""
        runners = [runner.status() for runner in self._runners()]
        run = max(runners, key=lambda status: (status["failures_in_a_row"], status["state"] == "hung"))
        healthy = run["failures_in_a_row"] == 0 and run["state"] != "hung"
        return {
            "name": self.plugin.name,
            "state": "active" if run["state"] in ("idle", "running") else run["state"],
            "distribution": self.plugin.distribution,
            "interval": self.interval,
            "collects": self.collects,
            "exports": self.exports,
            **{
                key: run[key]
                for key in ("last_success", "last_success_seconds_ago", "duration", "running_for", "retry_in")
            },
            "runs": sum(status["runs"] for status in runners),
            "failures": sum(status["failures"] for status in runners),
            "overdue": sum(status["overdue"] for status in runners),
            "skipped": sum(status["skipped"] for status in runners),
            "last_error": run["last_error"],
            "note": self._note,
            "error": None if healthy else run["last_error"],
            **self._pipeline.status(self.plugin.name),
            **self.plugin.details(),
            **({"export": self._exported(self._pipe)} if self._pipe is not None else {}),
        }

    def export_samples(self) -> Iterable[Sample]:
        """What its pipe measures of itself; nothing when it has none."""
        return report.collect(self._pipe) if self._pipe is not None else ()

    def _exported(self, pipe: ExportPipe) -> dict[str, Any]:
        return {**report.status(pipe), "bill": self._estimate.status()}

    def _runners(self) -> list[PluginRunner]:
        runners = (self._collector, self._exporter, self._detector, self._explainer)
        return [runner for runner in runners if runner is not None]

    def _ensure_started(self) -> None:
        with self._start_lock:
            if not self._started:
                self.plugin.start(self._host)
                self._started = True
                self._note = self.plugin.note()

    def _collect(self, _: object) -> int:
        self._ensure_started()
        if not self.collects:
            return 0
        given = _Counted(self.plugin.collect())
        accepted = self._pipeline.accept(self.plugin.name, given, owner=self)
        if accepted or not given.number:  # one that has nothing to measure delivered all it has
            self._delivered = time.monotonic()
        self._note = self.plugin.note()
        return accepted

    def _export(self, _: object) -> None:
        self._ensure_started()
        if self.ships and self._pipe is None:
            self._open_pipe()
        snapshot: Snapshot = self._pipeline.snapshot()
        if self._pipe is not None:
            self._pipe.offer(snapshot)
            self._estimate.renew(self.plugin, snapshot, self.interval)
        self.plugin.export(snapshot)
        self._note = self.plugin.note()

    def _detect(self, _: object) -> None:
        self._ensure_started()
        snapshot = self._pipeline.snapshot()
        self._found(self.plugin.name, snapshot.time, self.plugin.detect(snapshot))
        self._note = self.plugin.note()

    def _explain(self, _: object) -> None:
        self._ensure_started()
        while self._questions:
            _, (incident, history) = self._questions.popitem()
            self._explained(self.plugin.name, incident.id, self.plugin.causes(incident, history))

    def _open_pipe(self) -> None:
        destination = self.plugin.destination()
        config = self.plugin.config if isinstance(self.plugin.config, ExportConfig) else ExportConfig()
        folder = self._host.data_dir / "export" / self.plugin.name
        with self._pipe_lock:
            if self._stopped:  # it hung for so long that the plugin has been stopped: the folder may be another's
                return
            self._pipe = ExportPipe(self.plugin.name, destination, config, folder, log=self._host.logger)
        if self._events is not None:
            self._events.subscribe(self.plugin.name, self._pipe.emit)

    def _failing(self) -> bool:
        return any(runner.status()["failures_in_a_row"] for runner in self._runners())


class _Counted:
    """Samples, and how many there were."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples
        self.number = 0

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._samples:
            self.number += 1
            yield sample
