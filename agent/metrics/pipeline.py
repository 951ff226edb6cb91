"""From the plugins that collect to the plugins that export.

Each plugin's run hands its samples to `accept`; exporters and the HTTP API take a `snapshot`. What is not as the
catalogue says is dropped and counted, never passed on: one bad sample must not break a scrape.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.errors import PredisError
from agent.metrics.catalogue import Catalogue
from agent.metrics.governor import Governor
from agent.metrics.model import Sample, SeriesKey, Snapshot

STALE_INTERVALS = 5
MAX_SERIES = 2000
FLOOD_FACTOR = 4


Accepted = Callable[[str, float, Mapping[SeriesKey, Sample]], None]
"""Told of samples, with the plugin's name and its interval in seconds. Must neither raise nor wait."""


class SampleError(PredisError):
    """A sample that does not fit its declaration, in a strict pipeline."""


class Pipeline:
    """The newest sample of every series, by plugin. All methods may be called from any thread.

    `interval` is the collection interval in seconds that counts for plugins registered without one; a series not seen
    for 5 intervals is forgotten. A `strict` pipeline (tests, certification) raises where another one drops.

    What is stale is told by the monotonic clock (`now`, in seconds), which nobody sets; only a snapshot's time is Unix
    time. `accepted` is told of each run's samples that were accepted, with the plugin's name and interval.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        interval: float = 10.0,
        strict: bool = False,
        accepted: Accepted = lambda plugin, interval, samples: None,
    ) -> None:
        self.catalogue = catalogue
        self._accepted = accepted
        self._interval = interval
        self._strict = strict
        self._lock = threading.Lock()
        self._governors: dict[str, Governor] = {}
        self._samples: dict[str, dict[SeriesKey, Sample]] = {}
        self._owners: dict[str, object] = {}

    def register(
        self,
        plugin_name: str,
        *,
        max_series: int = MAX_SERIES,
        max_per_metric: int | None = None,
        interval: float | None = None,
        owner: object | None = None,
    ) -> None:
        """Set a plugin's caps (series over all, series per metric) and its interval in seconds.

        What it already has stays, so a reload loses nothing. From then on only samples of this `owner` are accepted
        under the name, if one is given: a run that hung through a restart of its plugin delivers nothing any more.
        """
        stale_after = STALE_INTERVALS * (interval or self._interval)
        per_metric = max_series if max_per_metric is None else max_per_metric
        with self._lock:
            governor = self._governors.get(plugin_name)
            if governor is None:
                self._governors[plugin_name] = Governor(max_series, per_metric, stale_after)
                self._samples[plugin_name] = {}
            else:
                governor.max_series, governor.max_per_metric = max_series, per_metric
                governor.stale_after = stale_after
            if owner is not None:
                self._owners[plugin_name] = owner

    def forget(self, plugin_name: str) -> None:
        """Remove a plugin's series at once, as when it was disabled. Its counts of drops go as well."""
        with self._lock:
            self._governors.pop(plugin_name, None)
            self._samples.pop(plugin_name, None)
            self._owners.pop(plugin_name, None)

    def accept(
        self, plugin_name: str, samples: Iterable[Sample], now: float | None = None, owner: object | None = None
    ) -> int:
        """Take the samples of one run. Returns how many were accepted: none if the name has another owner now.

        `samples` may be a generator that is still collecting: it is read without the lock, and no further than
        4 times the plugin's cap, since it might have no end.
        """
        with self._lock:
            if self._owners.get(plugin_name) is not owner:
                return 0
            governor = self._governors.get(plugin_name)
        if governor is None:
            self.register(plugin_name)
            governor = self._governors[plugin_name]
        good: dict[SeriesKey, Sample] = {}
        bad: list[tuple[str, str]] = []
        limit = FLOOD_FACTOR * max(governor.max_series, 1)
        for number, sample in enumerate(samples):
            if number >= limit:
                bad.append((_name_of(sample), "flood"))
                break
            reason = self._check(plugin_name, sample)
            if reason is None and sample.key in good:
                reason = "duplicate"
            if reason is None:
                good[sample.key] = sample
            else:
                bad.append((_name_of(sample), reason))
        if bad and self._strict:
            names = ", ".join(f"{name} ({reason})" for name, reason in bad[:5])
            raise SampleError(f"{plugin_name}: samples that do not fit the catalogue: {names}")
        now = time.monotonic() if now is None else now
        with self._lock:
            held = self._samples.get(plugin_name)
            if held is None or self._owners.get(plugin_name) is not owner:
                return 0  # forgotten, or another's, while this run was under way
            accepted = self._store(plugin_name, governor, held, good, bad, now)
            if accepted < len(good):
                good = {key: sample for key, sample in good.items() if held.get(key) is sample}
        self._accepted(plugin_name, governor.stale_after / STALE_INTERVALS, good)
        return accepted

    def _check(self, plugin_name: str, sample: Sample) -> str | None:
        try:
            return self.catalogue.check(sample, plugin_name)
        except (AttributeError, TypeError, ValueError, ArithmeticError):  # a plugin gave something else than a Sample
            return "malformed"

    def _store(
        self,
        plugin: str,
        governor: Governor,
        held: dict[SeriesKey, Sample],
        good: dict[SeriesKey, Sample],
        bad: list[tuple[str, str]],
        now: float,
    ) -> int:
        """Keep what there is room for, and count the rest. The lock is held."""
        accepted = 0
        self._expire(governor, held, now)
        for name, reason in bad:
            governor.drop(name, reason)
        for key, sample in good.items():
            cap = governor.admit(key, now)
            if cap is None:
                held[key] = sample
                accepted += 1
            else:
                governor.drop(key[0], cap)
        if self._strict and accepted < len(good):
            caps = f"{governor.max_series} in all and {governor.max_per_metric} of a metric"
            raise SampleError(f"{plugin}: {len(good) - accepted} series more than the caps of {caps}")
        return accepted

    @staticmethod
    def _expire(governor: Governor, held: dict[SeriesKey, Sample], now: float) -> None:
        for key in governor.expire(now):
            held.pop(key, None)

    def snapshot(self, now: float | None = None) -> Snapshot:
        """All series that are not stale. Samples are shared, not copied; only the table of them is new."""
        now = time.monotonic() if now is None else now
        merged: dict[SeriesKey, Sample] = {}
        with self._lock:
            for plugin, held in self._samples.items():
                self._expire(self._governors[plugin], held, now)
                merged.update(held)
        get = self.catalogue.get
        specs = {name: spec for name in {key[0] for key in merged} if (spec := get(name)) is not None}
        if len(specs) < len({key[0] for key in merged}):  # a plugin's specs were removed just now
            merged = {key: sample for key, sample in merged.items() if key[0] in specs}
        return Snapshot(time.time(), merged, specs)

    def status(self, plugin_name: str) -> dict[str, Any]:
        """A plugin's `series`, `dropped` (samples by reason) and `offenders` (metric, reason, samples; worst first)."""
        with self._lock:
            governor = self._governors.get(plugin_name)
            if governor is None:
                return {"series": 0, "dropped": {}, "offenders": []}
            return {"series": len(governor), "dropped": dict(governor.dropped), "offenders": governor.offenders()}

    def plugins(self) -> list[str]:
        """The names of the plugins that are registered or have given samples."""
        with self._lock:
            return list(self._governors)


def _name_of(sample: object) -> str:
    name = getattr(sample, "name", None)
    return name[:100] if isinstance(name, str) else f"({type(sample).__name__})"
