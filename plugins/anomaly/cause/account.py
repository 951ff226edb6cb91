"""Accounting: how much of what an alarmed component suffers from arises at each other one.

Extra time and failed requests can be added up. If requests to the front wait 25 seconds longer in five minutes, a
component in which 27 extra seconds are spent explains it, and one with 0.3 extra seconds does not, however unusual
these are for it. That needs no threshold and no scale: it is a balance, in the unit of the alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from plugins.anomaly.cause.graph import Graph
from plugins.anomaly.cause.model import Meaning, Observed, Point
from plugins.anomaly.cause.shift import level_right_before, nearest

Floats = NDArray[np.float64]

NOISE = 3.0  # usual spreads of a component's own total that are not held against it
STEADY = 10.0  # requests per row that a component usually has if their absence is to mean anything


@dataclass(frozen=True, slots=True)
class Burden:
    """What a component adds to the suffering of the alarmed one.

    extra: seconds (or failed requests) a row above the usual, over the rows in which the alarmed component suffers.
    share: of the alarmed component's, from 0 to 1; what is within the component's own usual spread is not counted.
    own: the part of it that does not arise at something it calls itself, 0 to 1.
    """

    extra: float
    share: float
    own: float


@dataclass(frozen=True, slots=True)
class Account:
    """The balance in one unit: "time" (seconds) or "failures" (requests). `total`: what the alarmed component has too
    much a row, `spreads`: in units of its usual spread. `weights`: how much each row counts."""

    unit: str
    total: float
    spreads: float
    weights: Floats
    burdens: Mapping[str, Burden]


def account(series: Sequence[Observed], graph: Graph, alarmed: str, unit: str, alarm: float) -> Account | None:
    """The balance of time or of failures. None where the alarmed component shows no extra at all, or has not the
    series for it (requests, and latency or errors or availability). alarm: Unix seconds; earlier rows count half."""
    by_component: dict[str, dict[Meaning, Observed]] = {}
    for observed in series:
        by_component.setdefault(observed.component, {}).setdefault(observed.meaning, observed)
    if Meaning.requests not in by_component.get(alarmed, {}):
        return None
    front = by_component[alarmed][Meaning.requests]
    totals = {name: _scaled(_totals(parts, unit), front) for name, parts in by_component.items()}
    target = totals[alarmed]
    if target is None:
        return None
    times = np.array([time for time, _ in front.during])
    excess = _excess(target)
    weights = np.maximum(excess, 0) * np.where(times < alarm - 1.5 * _step(times), 0.5, 1.0)
    if len(weights) == 0 or not weights.max() > 0:
        return None
    weights = weights / weights.sum()
    suffering = float(weights @ excess)
    extras: dict[str, float] = {}
    net: dict[str, float] = {}
    for name, rows in totals.items():
        if rows is None or len(rows.during) != len(weights):
            continue
        extras[name] = float(weights @ _excess(rows))
        spread = _spread(_array(rows.before)) * np.sqrt(float(weights @ weights))
        net[name] = max(extras[name] - NOISE * spread, 0.0) if name != alarmed else extras[name]
    burdens = {}
    for name, extra in extras.items():
        # Something on the way may hide in its own noise what arises further down.
        deepest = max((net.get(other, 0.0) for other in graph.distances(name) if other != name), default=0.0)
        passed = max(sum(net.get(callee, 0.0) for callee in graph.callees(name)), deepest)
        own = 1 - min(passed / extra, 1.0) if extra > 0 else 0.0
        burdens[name] = Burden(extra, min(net[name] / suffering, 1.0), own)
    usual = _spread(_array(target.before)) * float(np.sqrt(weights @ weights))
    # One failed request more, or a hundredth more of time, is nothing even where it never happened before.
    usual += 1.0 if unit == "failures" else 0.01 * float(np.median(np.nan_to_num(_array(target.during))))
    return Account(unit, suffering, suffering / usual if usual > 0 else 0.0, weights, burdens)


def lost(
    series: Iterable[Observed], graph: Graph, alarmed: str, weights: Floats | None, failures: float
) -> dict[str, float]:
    """The share of its requests that a component no longer gets though the alarmed one still has its own, for those
    whose callers still get theirs: what is dead gets nothing, and what is behind it gets nothing either.

    failures: failed requests a row at the alarmed component. Requests to something dead are missed: if more of them are
    lost than fail, most are not lost but no longer made.
    """
    requests = {observed.component: observed for observed in series if observed.meaning is Meaning.requests}
    if alarmed not in requests:
        return {}
    front = requests[alarmed]
    front_before, front_during = _array(front.before), _array(front.during)
    missing: dict[str, float] = {}
    for name, observed in requests.items():
        before, during = _array(observed.before), _array(observed.during)
        if len(before) != len(front_before) or len(during) != len(front_during) or name == alarmed:
            continue
        ratios = before / np.maximum(front_before, 1)
        least, usual = (float(v) for v in np.nanquantile(ratios, (0.02, 0.5)))
        # Its way of work may have changed since long ago: what it no longer got before the incident is not lost.
        usual = min(usual, level_right_before(observed, usual) / max(level_right_before(front, 1.0), 1.0))
        if usual * np.nanmedian(front_before) < STEADY:
            continue
        ratio = during / np.maximum(front_during, 1)
        low = float(np.nanmin(ratio)) if weights is None else float(np.nan_to_num(ratio) @ weights)
        if low < 0.8 * min(least, usual):
            share = float(1 - low / usual)
            missing[name] = share * min(failures / (share * usual * float(np.nanmedian(front_during))), 1.0)
    callers = {name: max((missing.get(c, 0.0) for c in graph.callers(name)), default=0.0) for name in missing}
    return {name: share - callers[name] for name, share in missing.items() if share > callers[name]}


def _totals(parts: Mapping[Meaning, Observed], unit: str) -> Observed | None:
    """Seconds spent in a component, or requests failed there, per row of its requests."""
    requests, errors = parts.get(Meaning.requests), parts.get(Meaning.errors)
    if requests is None:
        return None
    if unit == "failures" and errors is not None:
        return replace(
            requests, before=_per_row(requests.before, errors.before), during=_per_row(requests.during, errors.during)
        )
    other = parts.get(Meaning.latency if unit == "time" else Meaning.availability)
    if other is None:
        return None
    before, during = (
        [
            (time, (value if unit == "time" else 1 - value / 100) * count if np.isfinite(value) else 0.0)
            for (time, count), (_, value) in zip(counts, _per_row(counts, values), strict=True)
        ]
        for counts, values in ((requests.before, other.before), (requests.during, other.during))
    )
    return replace(requests, before=before, during=during)


def _scaled(total: Observed | None, front: Observed) -> Observed | None:
    """A total as it would be if the alarmed component always had as many requests as now: that there is more to do is
    no fault, and would add to everything."""
    if total is None or not front.during:
        return None
    now = float(np.nanmedian(_array(front.during)))
    before, during = (
        [(time, value * now / requests if requests > 0 else 0.0) for (time, value), (_, requests) in
         zip(points, _per_row(points, rows), strict=True)]
        for points, rows in ((total.before, front.before), (total.during, front.during))
    )  # fmt: skip
    return replace(total, before=before, during=during)


def _per_row(rows: Sequence[Point], values: Sequence[Point]) -> list[Point]:
    """The values at the times of other rows; NaN where there is none."""
    known = dict(values)
    return [(time, known.get(time, np.nan)) for time, _ in rows]


def _excess(total: Observed) -> Floats:
    """Each row of an incident against the usual: the nearer one of long ago and right before, levels drift."""
    during = np.nan_to_num(_array(total.during))
    if len(total.before) == 0:
        return np.asarray(during - during.min(), float)
    middle = float(np.median(np.nan_to_num(_array(total.before))))
    last = level_right_before(total, middle)
    return np.array([value - nearest(value, middle, last) for value in during])


def _spread(before: Floats) -> float:
    if len(before) < 2:
        return 0.0
    before = np.nan_to_num(before)
    low, high = np.quantile(before, (0.25, 0.75))
    return float((high - low) / 1.35 + 0.1 * before.std())


def _array(points: Sequence[tuple[float, float]]) -> Floats:
    return np.array([value for _, value in points], float)


def _step(times: Floats) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0
