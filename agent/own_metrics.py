"""The agent's samples that tell of its configuration and of the cache process, beside those of SelfMetrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from agent.metrics.model import Kind, MetricSpec, Sample

SPECS = (
    MetricSpec(
        "predis_config_last_reload_success", Kind.gauge, "1 if the last configuration read is in force, else 0."
    ),
    MetricSpec(
        "predis_config_last_reload_success_timestamp_seconds",
        Kind.gauge,
        "Unix time at which a configuration came into force last.",
        "seconds",
    ),
    MetricSpec("predis_config_reloads_total", Kind.counter, "Reloads of the configuration.", "", ("outcome",)),
)


class ReloadState:
    """What became of the reloads since the start. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {"applied": 0, "refused": 0}
        self._ok, self._applied, self._time = True, time.time(), 0.0
        self._error: str | None = None
        self._plan: list[str] = []

    def applied(self, plan: list[str]) -> None:
        """A new configuration is in force; `plan` says what it changed."""
        with self._lock:
            self._counts["applied"] += 1
            self._ok, self._error, self._plan = True, None, plan
            self._applied = self._time = time.time()

    def refused(self, error: str) -> None:
        """A new configuration could not be used, and the old one goes on."""
        with self._lock:
            self._counts["refused"] += 1
            self._ok, self._error, self._plan = False, error, []
            self._time = time.time()

    @property
    def error(self) -> str | None:
        """Why the last reload was refused; None when it was not."""
        return self._error

    @property
    def count(self) -> int:
        """How many reloads there were."""
        with self._lock:
            return sum(self._counts.values())

    def status(self) -> dict[str, Any]:
        """For the status document; times are Unix seconds."""
        with self._lock:
            return {
                "success": self._ok,
                "error": self._error,
                "changed": self._plan,
                "time": self._time or None,
                "reloads": sum(self._counts.values()),
            }

    def collect(self) -> Iterator[Sample]:
        """The samples of SPECS."""
        with self._lock:
            ok, applied, counts = self._ok, self._applied, dict(self._counts)
        yield Sample("predis_config_last_reload_success", int(ok))
        yield Sample("predis_config_last_reload_success_timestamp_seconds", applied)
        for outcome, count in counts.items():
            yield Sample("predis_config_reloads_total", count, (outcome,))
