"""Probes the origins behind the cache: what clients wait for on a miss, which the cache itself cannot see."""

from __future__ import annotations

import logging
import ssl
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agent.api import Host, Kind, MetricSpec, PluginConfig, PredisError, Sample, hookimpl
from plugins.origin_metrics.config import Origin, OriginMetricsConfig
from plugins.origin_metrics.probe import REASONS, Probe, probe

MAX_WORKERS = 8
UP = MetricSpec(
    "predis_origin_up", Kind.gauge, "1 if the origin answered its newest probe, and not with an error, else 0.", "",
    ("origin",),
)  # fmt: skip
SECONDS = MetricSpec(
    "predis_origin_probe_duration_seconds",
    Kind.gauge,
    "How long the newest probe of the origin took, to the head of its answer or to its failure.",
    "seconds",
    ("origin",),
)
PROBES = MetricSpec("predis_origin_probes_total", Kind.counter, "Probes of the origin.", "", ("origin",))
FAILURES = MetricSpec(
    "predis_origin_probe_failures_total",
    Kind.counter,
    "Probes that failed: refused, timeout, name (not resolved), tls, status (400 and up), other.",
    "",
    ("origin", "reason"),
)


def _context(name: str, origin: Origin) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=origin.ca_file)
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror or str(error)
        raise PredisError(f"{origin.ca_file}, ca_file of the origin {name}, cannot be used: {why}") from None


class OriginMetrics:
    """Probes every origin once each collection. `note` says what `status` should show besides the state."""

    api_version = 1
    Config: type[PluginConfig] = OriginMetricsConfig

    def __init__(self, config: OriginMetricsConfig) -> None:
        self._origins = config.origins
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._probes: Counter[str] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._down: dict[str, str] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._log: logging.Logger | logging.LoggerAdapter[Any] = logging.getLogger(__name__)

    @property
    def note(self) -> str:
        if not self._origins:
            return "no origins"
        down = ", ".join(f"{name}: {why}" for name, why in sorted(dict(self._down).items()))
        count = len(self._origins)
        return f"{count} origin{'s' if count > 1 else ''}" + (f"; not well: {down}" if down else "")

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return (UP, SECONDS, PROBES, FAILURES)

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._log = host.logger
        for name, origin in self._origins.items():
            if origin.url.get_secret_value().startswith("https:"):
                self._contexts[name] = _context(name, origin)
        if len(self._origins) > 1:
            # Side by side, so that an origin that does not answer makes no other late.
            self._pool = ThreadPoolExecutor(min(MAX_WORKERS, len(self._origins)), "origin-metrics")

    @hookimpl
    def predis_stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        names, origins = list(self._origins), list(self._origins.values())
        contexts = [self._contexts.get(name) for name in names]
        run = map if self._pool is None else self._pool.map
        for name, result in zip(names, run(probe, origins, contexts), strict=True):
            yield from self._samples(name, result)

    def _samples(self, name: str, result: Probe) -> Iterable[Sample]:
        self._probes[name] += 1
        if result.reason:
            self._failures[name, result.reason] += 1
        self._changed(name, result.why)
        yield Sample(UP.name, 0 if result.reason else 1, (name,))
        yield Sample(SECONDS.name, result.seconds, (name,))
        yield Sample(PROBES.name, self._probes[name], (name,))
        for reason in REASONS:
            yield Sample(FAILURES.name, self._failures[name, reason], (name, reason))

    def _changed(self, name: str, why: str) -> None:
        """Log when an origin gets ill and when it is well again, not every interval."""
        if why:
            if name not in self._down:
                self._log.warning("the origin %s is not well: %s", name, why)
            self._down[name] = why
        elif self._down.pop(name, None) is not None:
            self._log.info("the origin %s is well again", name)
