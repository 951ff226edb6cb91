"""Reads the hosted cache's counters from its shared-memory arena: no command, no lock; the cache does not notice.

Only when there were slow commands, it is asked for its slow log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from agent.api import Duration, Exemplar, Histogram, Host, MetricSpec, PluginConfig, Sample, duration_between, hookimpl
from plugins.cache_metrics.latency import LatencyScale
from plugins.cache_metrics.slowlog import SlowLog, asking
from plugins.cache_metrics.specs import (
    COMMANDS,
    COUNTERS,
    DURATION,
    FAILURES,
    GAUGES,
    SPECS,
    TENANT_DURATION,
    TENANT_ROWS,
    UP,
    MetricRow,
)


class CacheMetricsConfig(PluginConfig):
    """`[plugins.cache_metrics]`"""

    heartbeat_timeout: Annotated[Duration, duration_between("1s", "1h")] = 5.0


class Reader(Protocol):
    """What `core_cache._native.StatsReader` offers."""

    def read(self) -> Mapping[str, Any]:
        """The counters, gauges and commands of the arena."""
        ...


class CacheMetrics:
    """Metrics of the cache that this agent hosts."""

    api_version = 1
    Config = CacheMetricsConfig

    def __init__(
        self,
        config: CacheMetricsConfig,
        open_reader: Callable[[str], Reader] | None = None,
        bounds: Sequence[float] | None = None,
    ) -> None:
        """`open_reader` and the latency scale's `bounds` come from the native module unless they are given."""
        self._config = config
        self._open_reader = open_reader
        self._scale = LatencyScale(bounds) if bounds is not None else None
        self._no_arena: tuple[type[Exception], ...] = (OSError,)
        self._reader: Reader | None = None
        self._file: tuple[int, int] | None = None
        self._arena = Path()
        self._slow_log: SlowLog | None = None

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return SPECS

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._arena = host.cache.arena
        self._slow_log = SlowLog(asking(host.cache), host.logger)
        if self._open_reader is None or self._scale is None:
            from core_cache._native import ArenaError, StatsReader, latency_bounds

            self._no_arena = (OSError, ArenaError)
            self._open_reader = self._open_reader or StatsReader
            self._scale = self._scale or LatencyScale(latency_bounds())

    @hookimpl
    def predis_stop(self) -> None:
        self._close()

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        stats = self._read()
        if stats is None:
            return [Sample(UP.name, 0)]
        return list(self._samples(stats))

    def _close(self) -> None:
        self._reader = self._file = None  # the reader unmaps the file when it goes

    def _read(self) -> Mapping[str, Any] | None:
        """What the arena holds; None while there is none, or while it is being replaced."""
        try:
            status = self._arena.stat()
            file = (status.st_dev, status.st_ino)
            if self._reader is None or file != self._file:
                self._close()
                assert self._open_reader is not None, "predis_start comes before predis_collect"
                self._reader, self._file = self._open_reader(str(self._arena)), file
            return self._reader.read()
        except self._no_arena:
            self._close()
            return None

    def _samples(self, stats: Mapping[str, Any]) -> Iterator[Sample]:
        counters, gauges = stats["counters"], stats["gauges"]
        beat = gauges.get("heartbeat_unix_ms", 0) / 1000
        yield Sample(UP.name, int(time.time() - beat <= self._config.heartbeat_timeout))
        yield from _rows(COUNTERS, counters)
        yield from _rows(GAUGES, gauges)
        assert self._scale is not None
        slow = self._slow_log.exemplars(stats, self._scale.bounds) if self._slow_log is not None else {}
        for command, numbers in stats["commands"].items():
            label = (command,)
            yield Sample(COMMANDS.name, numbers["calls"], label)
            yield Sample(FAILURES.name, numbers["failed"], (command, "failed"))
            yield Sample(FAILURES.name, numbers["rejected"], (command, "rejected"))
            if numbers["calls"]:
                yield Sample(DURATION.name, _latencies(self._scale, numbers, slow.get(command, ())), label)
        for tenant, numbers in stats.get("tenants", {}).items():
            yield from _tenant(self._scale, tenant, numbers)


def _tenant(scale: LatencyScale, name: str, numbers: Mapping[str, Any]) -> Iterator[Sample]:
    for spec, series in TENANT_ROWS:
        for source, labels in series:
            if source in numbers:
                yield Sample(spec.name, numbers[source], (name, *labels))
    yield Sample(TENANT_DURATION.name, _latencies(scale, numbers), (name,))


def _latencies(scale: LatencyScale, numbers: Mapping[str, Any], exemplars: tuple[Exemplar, ...] = ()) -> Histogram:
    return scale.histogram(numbers["latency"], numbers["nanoseconds"] / 1e9, exemplars)


def _rows(rows: Iterable[MetricRow], numbers: Mapping[str, int]) -> Iterator[Sample]:
    """The series of these rows; a number that this version of the cache does not have is left out."""
    for spec, series in rows:
        for source, labels, factor in series:
            value = numbers.get(source)
            if value is not None:
                yield Sample(spec.name, value * factor, labels)
