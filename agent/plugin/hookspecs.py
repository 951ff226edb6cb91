"""The hooks: one typed function each. A plugin implements the ones it needs, with the arguments it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agent.dashboards.model import Dashboards
from agent.export.model import Destination
from agent.forecast.model import Forecast, ForecastRequest
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.bill import Charge
from agent.metrics.history import History
from agent.metrics.model import MetricSpec, Sample, Snapshot
from agent.plugin.host import Host
from agent.plugin.markers import hookspec
from agent.rules.extension import ActionType, ConditionType


@hookspec
def predis_metric_specs() -> Sequence[MetricSpec]:  # type: ignore[empty-body]
    """Declare every metric that predis_collect may give. Called once, before the plugin starts; no I/O."""


@hookspec
def predis_start(host: Host) -> None:
    """Begin work: open what the plugin needs. Called before the first collect or export, and again if it raises."""


@hookspec
def predis_collect() -> Iterable[Sample]:  # type: ignore[empty-body]
    """Measure now. Called on the plugin's own thread at its interval, within its deadline; may be a generator."""


@hookspec
def predis_export(snapshot: Snapshot) -> None:
    """Deliver or keep the newest state of all series. Called on the plugin's own thread; snapshots may be skipped."""


@hookspec
def predis_destination() -> Destination:  # type: ignore[empty-body]
    """Give the vendor's half of an exporter, after predis_start: the host queues, batches, retries and spools."""


@hookspec
def predis_dashboards(url: str) -> Dashboards:  # type: ignore[empty-body]
    """Give what is shipped for a vendor, for `predis-agent dashboards`; no I/O. `url`, if any, is where it goes to."""


@hookspec
def predis_bill(snapshot: Snapshot, interval: float) -> Iterable[Charge]:  # type: ignore[empty-body]
    """Estimate what the vendor bills by the month when these series go out every `interval` seconds; no I/O."""


@hookspec
def predis_detect(snapshot: Snapshot) -> Iterable[Anomaly]:  # type: ignore[empty-body]
    """Give the anomalies that last at the moment of a snapshot; on its own thread; snapshots may be skipped."""


@hookspec
def predis_causes(incident: Incident, history: History) -> Iterable[Cause]:  # type: ignore[empty-body]
    """Give what is probably behind an incident, most probable first; called when it opens and as it grows."""


@hookspec
def predis_forecast(request: ForecastRequest) -> Forecast:  # type: ignore[empty-body]
    """Forecast one series. Called in an analysis worker, a process of its own, where heavy imports may be made."""


@hookspec
def predis_conditions() -> Sequence[ConditionType]:  # type: ignore[empty-body]
    """Give the kinds of conditions that the plugin adds to rules; no I/O."""


@hookspec
def predis_actions() -> Sequence[ActionType]:  # type: ignore[empty-body]
    """Give the kinds of actions that the plugin adds to rules; no I/O."""


@hookspec
def predis_evaluate(kind: str, source: Path, target: Path, options: Mapping[str, str]) -> None:
    """Run the plugin's own code on recorded data, for `predis-agent eval KIND`: read `source`, write `target`."""


@hookspec
def predis_stop() -> None:
    """Close everything. Called once, after the last collect or export."""
