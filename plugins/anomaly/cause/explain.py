"""The causes of an incident of our own: its series out of the history, ranked, and checked against the signatures."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType

from agent.api import Anomaly, Cause, History, Incident, Kind, MetricSpec
from plugins.anomaly.cause.graph import Graph
from plugins.anomaly.cause.model import Meaning, Observed, Point, SeriesKey
from plugins.anomaly.cause.rank import rank
from plugins.anomaly.cause.signatures import Signature, matches
from plugins.anomaly.cause.topology import Topology

NOTHING: Mapping[tuple[str, str], int] = MappingProxyType({})
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
    learned: Mapping[tuple[str, str], int] = NOTHING,
    look_back: float = LOOK_BACK,
    within: float = math.inf,
    limit: int = 5,
) -> list[Cause]:
    """The probable causes, best first: signatures that were found, then components by `rank`, each component once; what
    somebody decided meanwhile (`Signature.follows`) is told with the component's cause, or after all causes.

    specs: the metrics that there are, by name. edges: (what suffers, what it depends on), beside the topology's own.
    learned: more of them, from so many incidents each; they count for components of which those tell nothing.
    At most MOST_SERIES series are looked at, those of the incident first; no others are read after `within` seconds.
    """
    if not incident.anomalies:
        return []
    start = min(anomaly.since for anomaly in incident.anomalies)
    end = max(anomaly.time for anomaly in incident.anomalies)
    keys = _keys(incident, history, specs)
    own = {anomaly.series for anomaly in incident.anomalies}
    series = [
        observed
        for some, until in (
            ([key for key in keys if key in own], math.inf),
            ([key for key in keys if key not in own], time.monotonic() + within),
        )
        for observed in _observed(some, history, specs, topology, start, end, look_back, until)
    ]
    components = dict.fromkeys(observed.component for observed in series)
    links = [*topology.edges(components), *edges]
    named = [
        (topology.component(a.series[0], dict(zip(a.labels, a.series[1], strict=False))), a) for a in incident.anomalies
    ]
    known = Graph(links)
    supposed = {
        (one, other): count
        for (one, other), count in learned.items()
        if {one, other} <= components.keys() and not known.path(one, other) and not known.path(other, one)
    }
    graph = Graph([*links, *supposed])
    alarmed, anomaly = _alarmed(named, graph)
    meaning = topology.meaning(anomaly.series[0])
    patterns = matches(signatures, series)
    ranked = rank(series, links, alarmed, alarm=anomaly.since, meaning=meaning, learned=supposed, began=incident.opened)
    causes: dict[str, Cause] = {}
    follow = {signature.name for signature in signatures if signature.follows}
    for cause in [
        *(cause for cause in patterns if cause.signature not in follow),
        *(_with_source(cause, graph.path(alarmed, cause.component), supposed) for cause in ranked),
    ]:
        causes.setdefault(cause.component, cause)
    found = list(causes.values())[:limit]
    for cause in patterns:
        if cause.signature in follow:
            found = _followed_by(found, cause, limit)
    return found


def _followed_by(causes: list[Cause], after: Cause, limit: int) -> list[Cause]:
    """The causes with what was done after them: with that of the same component, or else as the last one."""
    for place, cause in enumerate(causes):
        if cause.component == after.component:
            if not cause.signature and cause.series[:1] and cause.series[0] in after.series:
                causes[place] = replace(after, score=cause.score)  # there is nothing but that
                return causes
            why = f"{cause.why.rstrip('.')}; {after.why.removeprefix(f'{after.component}: ')}"
            series = tuple(dict.fromkeys((*cause.series, *after.series)))
            causes[place] = replace(cause, why=why, series=series, signature=cause.signature or after.signature)
            return causes
    causes = causes[: limit - 1] or causes
    lowest = min((cause.score for cause in causes), default=after.score)
    return [*causes, replace(after, score=lowest / 2)][:limit]


def _with_source(cause: Cause, way: Sequence[str], learned: Mapping[tuple[str, str], int]) -> Cause:
    """The cause, which says from how many incidents it is known, if so, that what suffers depends on it."""
    counts = [learned[edge] for edge in pairwise(way) if edge in learned]
    if not counts:
        return cause
    why = f"{cause.why.rstrip('.')}; that {way[0]} depends on it is learned from {min(counts)} incidents."
    return replace(cause, why=why)


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
    keys: Sequence[SeriesKey],
    history: History,
    specs: Mapping[str, MetricSpec],
    topology: Topology,
    start: float,
    end: float,
    look_back: float,
    until: float,
) -> list[Observed]:
    """What is known of the series before and during the incident, in the order of the keys; of those that could be read
    until that monotonic time."""
    labels = {key: dict(zip(specs[key[0]].labels, key[1], strict=False)) for key in keys}
    telling = [key for key in keys if not topology.is_harmless(key[0], labels[key])]
    found: dict[SeriesKey, Observed] = {}
    for key, points in history.points_of(telling, start - look_back, end) if time.monotonic() < until else ():
        spec, meaning = specs[key[0]], topology.meaning(key[0])
        if spec.kind in (Kind.counter, Kind.histogram):
            points = _rates(points)
            # The history gives the counts of histograms: how often, not how long.
            meaning = Meaning.state if spec.kind is Kind.histogram else meaning
        # A detector looks at what was collected last: what it has seen at `start` is the newest row up to then.
        seen = max((time for time, _ in points if time <= start), default=start)
        before = [point for point in points if point[0] < seen]
        during = [point for point in points if point[0] >= seen]
        if before and during:
            component = topology.component(key[0], labels[key])
            counts = spec.kind is Kind.histogram
            found[key] = Observed(key, component, meaning, before, during, _unit(spec), spec.labels, counts)
        if time.monotonic() >= until:
            break
    return [found[key] for key in telling if key in found]


def _unit(spec: MetricSpec) -> str:
    """What stands behind the numbers of a series in a sentence."""
    unit = "" if spec.unit == "ratio" or spec.kind is Kind.histogram else spec.unit
    return unit if spec.kind is Kind.gauge else f"{unit} a second".strip()


def _rates(points: Sequence[Point]) -> list[Point]:
    """Increases per second at the end of each pair of rows; a reset counts from zero."""
    return [
        (time, (value - last if value >= last else value) / (time - earlier))
        for (earlier, last), (time, value) in pairwise(points)
        if time > earlier
    ]
