"""Finds series that are not as they should be, among all that the agent collects."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.api import Anomaly as Found
from agent.api import (
    Cause,
    Duration,
    History,
    Host,
    Incident,
    Kind,
    MetricSpec,
    PluginConfig,
    PredisError,
    Sample,
    Section,
    Snapshot,
    duration_between,
    hookimpl,
)
from plugins.anomaly.cause import evaluation as cause
from plugins.anomaly.cause.explain import explain
from plugins.anomaly.cause.learning import Learned
from plugins.anomaly.cause.signatures import load as load_signatures
from plugins.anomaly.cause.topology import Topology
from plugins.anomaly.engine import evaluate as univariate
from plugins.anomaly.engine import state
from plugins.anomaly.engine.alarms import Alarms
from plugins.anomaly.engine.engine import Engine
from plugins.anomaly.engine.zscore import ZScore
from plugins.anomaly.host import HostWatch
from plugins.anomaly.multivariate import evaluation as multivariate
from plugins.anomaly.watch import Detector, Watch

STATE_FILE = "anomaly.state"
READING = 0.5  # of the deadline: then what is read is ranked
OWN = ("predis_anomal*", "predis_incident*")  # what was found is no reason to find more
METHODS: dict[str, type[Detector]] = {"records": Engine, "zscore": ZScore}

SERIES = MetricSpec("predis_anomaly_series", Kind.gauge, "Numbers that the anomaly detector watches.")
LEFT_OUT = MetricSpec("predis_anomaly_series_left_out", Kind.gauge, "Numbers over the limit, which are not watched.")
OPEN = MetricSpec("predis_anomaly_open", Kind.gauge, "Anomalies that last, by kind of evidence.", labels=("channel",))
OPENED = MetricSpec("predis_anomaly_opened_total", Kind.counter, "Anomalies that began.")
TESTS = MetricSpec("predis_anomaly_tests_total", Kind.counter, "Values that were compared with what was expected.")
SECONDS = MetricSpec("predis_anomaly_seconds_total", Kind.counter, "CPU time of the detection.", "seconds")
STATE_BYTES = MetricSpec("predis_anomaly_state_bytes", Kind.gauge, "Memory of what is known of series.", "bytes")
CHANNELS = ("deviation", "shift", "difference", "season", "variance", "flatline", "absence", "host")


Component = Annotated[str, Field(min_length=1, max_length=200)]


class Edge(Section):
    """`[[plugins.anomaly.edge]]`: what suffers, and what it depends on. Shell patterns of components."""

    source: Component = Field(alias="from")
    to: tuple[Component, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_no_loop(self) -> Self:
        if self.source in self.to:
            raise ValueError(f"{self.source} would depend on itself: name something else in to")
        return self


class AnomalyConfig(PluginConfig):
    """`[plugins.anomaly]`"""

    method: Literal["records", "zscore"] = "records"
    sensitivity: float = Field(default=1.0, gt=0, le=10_000, description="false alerts per day, over all series")
    ignore: tuple[str, ...] = ()
    limit: int = Field(default=20_000, ge=1, le=1_000_000, description="numbers that are watched at most")
    forget_after: Annotated[Duration, duration_between("1m", "52w")] = 86400.0
    edge: tuple[Edge, ...] = Field(default=(), max_length=1000, description="what depends on what, for causes")
    save_every: Annotated[Duration, duration_between("10s", "1d")] = 900.0


class Anomaly:
    """Watches every series of every snapshot. `note` says what `status` should show besides the state."""

    api_version = 1
    isolation = "process"  # numpy is large, and what hangs here hangs there
    Config = AnomalyConfig

    def __init__(self, config: AnomalyConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._watch = self._new()
        self._path: Path | None = None
        self._logger = logging.getLogger(__name__)
        self._saved = time.monotonic()
        self._seconds = 0.0
        self._specs: Mapping[str, MetricSpec] = {}
        links = [(edge.source, to) for edge in config.edge for to in edge.to]
        self._topology, self._signatures = Topology.load().with_links(links), load_signatures()
        self._learned = Learned()
        self.note = ""

    def _new(self) -> Watch:
        config = self._config
        return Watch(
            METHODS[config.method](),
            Alarms(config.sensitivity),
            (*OWN, *config.ignore),
            config.limit,
            config.forget_after,
            HostWatch(config.sensitivity),
        )

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return (SERIES, LEFT_OUT, OPEN, OPENED, TESTS, SECONDS, STATE_BYTES)

    @hookimpl
    def predis_start(self, host: Host) -> None:
        self._logger = host.logger
        self._path = host.data_dir / STATE_FILE
        with self._lock:
            self._watch, self._learned = self._new(), Learned()
            try:
                found = state.load(self._path)
                if found is not None:
                    self._learned = Learned.restore(found[0].get("learned", Learned().dump()))
                if found is not None and found[0]["method"] == self._config.method:
                    self._watch.restore(*found)
            except (ValueError, KeyError, TypeError, OSError) as error:
                # What was learnt is not worth failing for: it is learnt again.
                self._watch, self._learned = self._new(), Learned()
                self.note = f"learning anew, the state could not be read ({error})"
                self._logger.warning("anomaly: starts with nothing learnt: %s", error)
            self._saved = time.monotonic()

    @hookimpl
    def predis_detect(self, snapshot: Snapshot) -> Iterable[Found]:
        began = time.thread_time()
        with self._lock:
            self._watch.take(snapshot)
            self._specs = snapshot.specs
            found = [replace(one, component=self._component(one)) for one in self._watch.anomalies()]
            self._learned.settle(snapshot.time, {one.series for one in found}, self._watch.interval)
            if time.monotonic() - self._saved >= self._config.save_every:
                self._save()
            self._seconds += time.thread_time() - began
        return found

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        with self._lock:
            watch = self._watch
            channels = [alarm.channel for alarm in watch.alarms.open.values()] + ["absence"] * len(watch.absent)
            channels += ["host"] * (watch.host is not None and watch.host.open is not None)
            return [
                Sample(SERIES.name, len(watch.slots)),
                Sample(LEFT_OUT.name, watch.left_out),
                *(Sample(OPEN.name, channels.count(channel), (channel,)) for channel in CHANNELS),
                Sample(OPENED.name, watch.alarms.opened),
                Sample(TESTS.name, watch.tests),
                Sample(SECONDS.name, self._seconds),
                Sample(STATE_BYTES.name, watch.detector.table.nbytes),
            ]

    @hookimpl
    def predis_causes(self, incident: Incident, history: History) -> Iterable[Cause]:
        components = {one.series: self._component(one) for one in incident.anomalies}
        with self._lock:
            self._learned.see(incident, components)
            learned = self._learned.edges(incident.opened)
        return explain(
            incident,
            history,
            self._specs,
            topology=self._topology,
            signatures=self._signatures,
            learned=learned,
            within=READING * self._config.deadline,
        )

    def _component(self, anomaly: Found) -> str:
        labels = dict(zip(anomaly.labels, anomaly.series[1], strict=False))
        return self._topology.component(anomaly.series[0], labels)

    @hookimpl
    def predis_evaluate(self, kind: str, source: Path, target: Path, options: Mapping[str, str]) -> None:
        if kind == "anomaly":
            univariate.evaluate(source, target)
        elif kind == "multivariate":
            multivariate.evaluate(source, target)
        elif kind == "cause":
            cause.evaluate(source, target, Path(options["data"]))
        else:
            raise PredisError(f"the plugin anomaly evaluates anomaly, multivariate and cause, and not {kind}")

    @hookimpl
    def predis_stop(self) -> None:
        with self._lock:
            self._save()

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._path is None:
            return
        about, arrays = self._watch.dump()
        try:
            state.save(self._path, {"method": self._config.method, "learned": self._learned.dump(), **about}, arrays)
            self.note = ""
        except OSError as error:
            self.note = f"the state cannot be saved ({error})"
            self._logger.warning("anomaly: what was learnt is not saved: %s", error)
