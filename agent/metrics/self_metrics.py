"""What the agent says of itself: its build, its plugins' runs, the cache's restarts, its own cost.

Others report what happens (`runs`, `restart`); `collect` gives the numbers, like any plugin, under the name `agent`.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from agent.metrics.model import Histogram, Kind, MetricSpec, Sample
from agent.metrics.pipeline import Pipeline

PLUGIN_NAME = "agent"
RUN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FAILURE_REASONS = ("exception", "overdue")
RESTART_REASONS = ("exited", "killed", "unresponsive", "requested")

SPECS = (
    MetricSpec(
        "predis_build_info", Kind.info, "Which agent this is: its version and its Python.", "", ("version", "python")
    ),
    MetricSpec(
        "predis_plugin_runs_total", Kind.counter, "Runs of a plugin that came to an end, good or bad.", "", ("plugin",)
    ),
    MetricSpec(
        "predis_plugin_failures_total",
        Kind.counter,
        "Runs of a plugin that failed (exception), or went on past their deadline (overdue).",
        "",
        ("plugin", "reason"),
    ),
    MetricSpec(
        "predis_plugin_run_duration_seconds",
        Kind.histogram,
        "How long the runs of a plugin took.",
        "seconds",
        ("plugin",),
        RUN_BOUNDS,
    ),
    MetricSpec("predis_series", Kind.gauge, "Series that a plugin has at the moment.", "", ("plugin",)),
    MetricSpec(
        "predis_samples_dropped_total",
        Kind.counter,
        "Samples of a plugin that were not accepted: not catalogued, not well formed, or over a cap.",
        "",
        ("plugin", "reason"),
    ),
    MetricSpec(
        "predis_supervisor_restarts_total",
        Kind.counter,
        "Times that the agent started the cache process again, by why it had to.",
        "",
        ("reason",),
    ),
    MetricSpec(
        "predis_agent_cpu_seconds_total", Kind.counter, "CPU time that the agent's process has used.", "seconds"
    ),
    MetricSpec("predis_agent_resident_memory_bytes", Kind.gauge, "Resident memory of the agent's process.", "bytes"),
    MetricSpec("predis_agent_threads", Kind.gauge, "Threads of the agent's process."),
    MetricSpec("predis_agent_open_fds", Kind.gauge, "File descriptors that the agent's process has open."),
    MetricSpec(
        "predis_agent_start_time_seconds", Kind.gauge, "Unix time at which the agent's process started.", "seconds"
    ),
)


class SelfMetrics:
    """The agent's own numbers. All methods may be called from any thread.

    `pipeline` tells series and drops by plugin; `proc` is where this process' files are (tests replace it).
    """

    def __init__(self, version: str, pipeline: Pipeline | None = None, proc: Path = Path("/proc/self")) -> None:
        self._version = version
        self._pipeline = pipeline
        self._proc = proc
        self._started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + _start_since_boot(proc)
        self._lock = threading.Lock()
        self._runs: Counter[str] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        # A counter that is there from the start, at 0, shows its first increase; one that appears at 1 does not.
        # So are the usual reasons of failures, from a plugin's first run on.
        self._restarts: Counter[str] = Counter(dict.fromkeys(RESTART_REASONS, 0))

    def runs(self, plugin: str, seconds: float, outcome: str) -> None:
        """A plugin's run ended after `seconds`; `outcome` is `ok` or the reason of the failure, in one word."""
        with self._lock:
            self._runs[plugin] += 1
            for reason in FAILURE_REASONS:
                self._failures[plugin, reason] += reason == outcome
            if outcome != "ok" and outcome not in FAILURE_REASONS:
                self._failures[plugin, outcome] += 1
            counts = self._durations.setdefault(plugin, [0] * (len(RUN_BOUNDS) + 1))
            counts[bisect_left(RUN_BOUNDS, seconds)] += 1
            self._seconds[plugin] = self._seconds.get(plugin, 0.0) + seconds

    def restart(self, reason: str) -> None:
        """The cache process was started again; `reason` is one of RESTART_REASONS, or another single word."""
        with self._lock:
            self._restarts[reason] += 1

    def specs(self) -> tuple[MetricSpec, ...]:
        """The declarations of what `collect` gives."""
        return SPECS

    def collect(self) -> Iterator[Sample]:
        """All of the agent's own samples."""
        yield Sample("predis_build_info", 1, (self._version, platform.python_version()))
        with self._lock:
            runs, failures, restarts = dict(self._runs), dict(self._failures), dict(self._restarts)
            durations = {name: tuple(counts) for name, counts in self._durations.items()}
            seconds = dict(self._seconds)
        for plugin, count in runs.items():
            yield Sample("predis_plugin_runs_total", count, (plugin,))
            histogram = Histogram(RUN_BOUNDS, durations[plugin], seconds[plugin])
            yield Sample("predis_plugin_run_duration_seconds", histogram, (plugin,))
        for (plugin, reason), count in failures.items():
            yield Sample("predis_plugin_failures_total", count, (plugin, reason))
        for reason, count in restarts.items():
            yield Sample("predis_supervisor_restarts_total", count, (reason,))
        yield from self._of_pipeline()
        yield from self._of_process()

    def _of_pipeline(self) -> Iterator[Sample]:
        if self._pipeline is None:
            return
        for plugin in self._pipeline.plugins():
            status = self._pipeline.status(plugin)
            yield Sample("predis_series", status["series"], (plugin,))
            for reason, count in status["dropped"].items():
                yield Sample("predis_samples_dropped_total", count, (plugin, reason))

    def _of_process(self) -> Iterator[Sample]:
        yield Sample("predis_agent_cpu_seconds_total", time.process_time())
        statm = (self._proc / "statm").read_text().split()
        yield Sample("predis_agent_resident_memory_bytes", int(statm[1]) * os.sysconf("SC_PAGESIZE"))
        yield Sample("predis_agent_threads", threading.active_count())
        yield Sample("predis_agent_open_fds", len(os.listdir(self._proc / "fd")))
        yield Sample("predis_agent_start_time_seconds", self._started)


def _start_since_boot(proc: Path) -> float:
    """When the process started, in seconds after boot, from the 22nd field of /proc/PID/stat."""
    after_name = (proc / "stat").read_text().rpartition(")")[2].split()
    return int(after_name[19]) / os.sysconf("SC_CLK_TCK")
