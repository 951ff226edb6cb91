"""The causes of an incident of our own: its series out of the history, ranked, and checked against the signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from agent.api import Anomaly, Cause, History, Incident, Kind, MetricSpec
from plugins.anomaly.cause.graph import Graph
from plugins.anomaly.cause.model import Meaning, Observed, Point, SeriesKey
from plugins.anomaly.cause.rank import rank
from plugins.anomaly.cause.signatures import Signature, matches
from plugins.anomaly.cause.topology import Topology

LOOK_BACK = 3600.0  # seconds before an incident that tell what is usual
MOST_SERIES = 2000


def explain(
    incident: Incident,
    history: History,
    specs: Mapping[str, MetricSpec],
    *,
    topology: Topology,
    signatures: Sequence[Signature],
    edges: Iterable[tuple[str, str]] = (),
    look_back: float = LOOK_BACK,
    limit: int = 5,
) -> list[Cause]:
    """The probable causes, best first: signatures that were found, then components by `rank`, each component once.

    specs: the metrics that there are, by name. edges: (what suffers, what it depends on), beside the topology's own.
    At most MOST_SERIES series are looked at, those of the incident first.
    """
    if not incident.anomalies:
        return []
    start = min(anomaly.since for anomaly in incident.anomalies)
    end = max(anomaly.time for anomaly in incident.anomalies)
    keys = _keys(incident, history, specs)
    series = [o for key in keys if (o := _observed(key, history, specs[key[0]], topology, start, end, look_back))]
    components = dict.fromkeys(observed.component for observed in series)
    links = [*topology.edges(components), *edges]
    named = [
        (topology.component(a.series[0], dict(zip(a.labels, a.series[1], strict=False))), a) for a in incident.anomalies
    ]
    alarmed, anomaly = _alarmed(named, Graph(links))
    meaning = topology.meaning(anomaly.series[0])
    known = matches(signatures, series)
    ranked = rank(series, links, alarmed, alarm=anomaly.since, meaning=meaning)
    causes: dict[str, Cause] = {}
    for cause in [*known, *ranked]:
        causes.setdefault(cause.component, cause)
    return list(causes.values())[:limit]


def _alarmed(named: Sequence[tuple[str, Anomaly]], graph: Graph) -> tuple[str, Anomaly]:
    """The component that suffers rather than makes suffer: the one that depends on most of the others, or the first."""
    components = {component for component, _ in named}
    return max(named, key=lambda item: len(components & set(graph.distances(item[0]))))


def _keys(incident: Incident, history: History, specs: Mapping[str, MetricSpec]) -> list[SeriesKey]:
    keys = dict.fromkeys(anomaly.series for anomaly in incident.anomalies if anomaly.series[0] in specs)
    for name, spec in specs.items():
        if spec.kind is not Kind.info:
            keys.update(dict.fromkeys(history.keys(name)))
    return list(keys)[:MOST_SERIES]


def _observed(
    key: SeriesKey, history: History, spec: MetricSpec, topology: Topology, start: float, end: float, look_back: float
) -> Observed | None:
    labels = dict(zip(spec.labels, key[1], strict=False))
    if topology.is_harmless(key[0], labels):
        return None
    points: Sequence[Point] = history.points(key, start - look_back, end)
    meaning = topology.meaning(key[0])
    if spec.kind in (Kind.counter, Kind.histogram):
        points = _rates(points)
        # The history gives the counts of histograms: how often, not how long.
        meaning = Meaning.state if spec.kind is Kind.histogram else meaning
    # A detector looks at what was collected last: what it has seen at `start` is the newest row up to then.
    seen = max((time for time, _ in points if time <= start), default=start)
    before = [point for point in points if point[0] < seen]
    during = [point for point in points if point[0] >= seen]
    if not before or not during:
        return None
    unit = {Kind.gauge: spec.unit, Kind.histogram: "/s"}.get(spec.kind, f"{spec.unit}/s")
    return Observed(key, topology.component(key[0], labels), meaning, before, during, unit, spec.labels)


def _rates(points: Sequence[Point]) -> list[Point]:
    """Increases per second at the end of each pair of rows; a reset counts from zero."""
    return [
        (time, (value - last if value >= last else value) / (time - earlier))
        for (earlier, last), (time, value) in pairwise(points)
        if time > earlier
    ]
