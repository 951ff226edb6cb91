"""Rank the components behind an incident, and say why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from plugins.anomaly.cause.account import NOISE, Account, Burden, account, lost
from plugins.anomaly.cause.graph import Graph
from plugins.anomaly.cause.model import Cause, Meaning, Observed, shown
from plugins.anomaly.cause.shift import Shift, shift_of

STRONG = 6.0  # spreads at which a move counts half of what it can count
OUT_OF_REACH = 0.15  # what a component counts that the alarmed one does not depend on, as far as the graph tells
ALARMED = 0.7  # what the alarmed component counts itself: that it suffers is known, and says little about why
LATE = 0.8  # what a component counts whose move began after the alarm
WEIGHTS = (1.0, 0.3)  # of the balance that the alarm is about, and of the other one
TOLD = 0.05  # shares below are not worth telling
RELATED: dict[Meaning, tuple[str, ...]] = {
    Meaning.latency: ("time", "failures"),
    Meaning.tail: ("time", "failures"),
    Meaning.availability: ("failures", "time"),
    Meaning.errors: ("failures", "time"),
}


def rank(
    series: Sequence[Observed],
    edges: Iterable[tuple[str, str]],
    alarmed: str,
    *,
    alarm: float,
    meaning: Meaning = Meaning.state,
    learned: Iterable[tuple[str, str]] = (),
    began: float | None = None,
    limit: int = 10,
) -> list[Cause]:
    """The components that are probably behind an alarm, most probable first.

    series: what is known of all components, those of the alarmed one too. edges: (caller, callee); `learned`: more of
    them that are only probable, which bring a component into reach and do nothing else. alarmed: the component that
    shows the incident, `meaning`: of its alarmed series, `alarm`: when, in Unix seconds. began: when the incident is
    said to have begun, in Unix seconds; none: with the alarm. limit: at most so many causes.

    A component is suspect for what it adds to the alarmed one's extra time or failures (account.py), for requests
    that no longer reach it, and for how far its series moved, in units of their usual spread. It is the less suspect
    the more of that comes from what it calls itself; that makes the deepest unusual component on a path the first, as
    in graph traversals. It is the less suspect if the alarmed one does not depend on it, or if it moved later.
    """
    graph = Graph(edges)
    order = RELATED.get(meaning, ())
    balances = [found for unit in order if (found := account(series, graph, alarmed, unit, alarm)) is not None]
    # The alarm itself says that the first is off; the other one has to be, too, to count.
    accounts = [found for found in balances if found.unit == order[0] or found.spreads > NOISE]
    weights = accounts[0].weights if accounts else None
    failures = max((found.total for found in accounts if found.unit == "failures"), default=0.0)
    absent = lost(series, graph, alarmed, weights, failures)
    shifts: dict[str, list[Shift]] = {}
    for observed in series:
        aligned = weights if weights is not None and len(weights) == len(observed.during) else None
        if (shift := shift_of(observed, aligned)) is not None:
            shifts.setdefault(observed.component, []).append(shift)
    strengths = {name: max((_strength(shift) for shift in found), default=0.0) for name, found in shifts.items()}
    reach = Graph([*graph.edges, *learned]).distances(alarmed)
    starts = [shift.onset for shift in shifts.get(alarmed, ()) if shift.onset is not None]
    first, shown_as = min(starts, default=alarm), alarm if began is None else began
    causes = []
    for name, moves in shifts.items():
        best = max(moves, key=_strength)
        moved = _strength(best)
        deeper = max((strengths.get(callee, 0.0) for callee in graph.callees(name)), default=0.0)
        score = 0.25 * moved * (1 - 0.5 * min(deeper / moved, 1.0)) if moved > 0 else 0.0
        burdens = [
            (weight * burden.share, burden, balance)
            for weight, balance in zip(WEIGHTS, accounts, strict=False)
            if (burden := balance.burdens.get(name)) is not None
        ]
        score += sum(share * (0.25 + 0.75 * burden.own) for share, burden, _ in burdens)
        # What callers suffer from is explained by something that no longer answers and so counts no failures itself.
        score *= 1 - max((absent.get(callee, 0.0) for callee in graph.callees(name)), default=0.0) / 2
        gone = absent.get(name, 0.0)
        score += gone
        if name == alarmed:
            score *= ALARMED
        if graph and name not in reach:
            score *= OUT_OF_REACH
        if best.onset is not None and best.onset > max(first, alarm):
            score *= LATE
        if score > 0:
            share, burden, balance = max(burdens, key=lambda found: found[0], default=(0.0, None, None))
            told = _telling(moves, balance.unit, best) if balance is not None and share > TOLD else best
            why = _why(name, alarmed, told, burden if share > TOLD else None, balance, gone, shown_as)
            keys = tuple(shift.observed.key for shift in sorted(moves, key=_strength, reverse=True)[:3])
            causes.append(Cause(name, score, why, keys))
    causes.sort(key=lambda cause: -cause.score)
    return causes[:limit]


def _telling(shifts: Sequence[Shift], unit: str, best: Shift) -> Shift:
    """The move to tell of: one of what is accounted for, if it moved at all."""
    meanings = {"time": (Meaning.latency,), "failures": (Meaning.availability, Meaning.errors)}.get(unit, ())
    return max((s for s in shifts if s.observed.meaning in meanings and _strength(s) > 0), key=_strength, default=best)


def _strength(shift: Shift) -> float:
    """From 0 to 1. Faults slow down and fail; that a component does better, or has less to do, speaks for it less."""
    spreads = shift.spreads if shift.observed.meaning is not Meaning.availability else -shift.spreads
    if shift.observed.meaning is Meaning.state:
        spreads = abs(spreads)
    elif shift.observed.meaning is Meaning.requests:
        spreads = abs(spreads) / 3
    size = max(spreads, -spreads / 5) - 2
    return max(size, 0.0) / (max(size, 0.0) + STRONG)


def _why(
    name: str, alarmed: str, shift: Shift, burden: Burden | None, balance: Account | None, gone: float, began: float
) -> str:
    observed = shift.observed
    label = observed.meaning.value if observed.meaning is not Meaning.state else observed.name
    verb = "rose" if shift.now > shift.usual else "fell"
    moved = f"its {label} {verb} from {shown(shift.usual)} to {shown(shift.now)}{observed.unit and ' ' + observed.unit}"
    spreads = abs(shift.spreads)
    moved += f", {spreads:{'.1f' if spreads < 100 else ',.0f'}} times its usual spread"
    if shift.onset is not None:
        moved += f", from {datetime.fromtimestamp(shift.onset, UTC):%H:%M:%S} UTC on"
        # Both as people read them, in whole seconds: the times that they compare have no more.
        if apart := math.floor(shift.onset) - math.floor(began):
            moved += f" ({abs(apart)} s {'before' if apart < 0 else 'after'} the incident began)"
    parts = [moved]
    if gone > 0.2:
        parts.append(f"{gone:.0%} of its requests no longer reach it")
    if burden is not None and balance is not None:
        what = "time" if balance.unit == "time" else "failed requests"
        if name != alarmed:
            parts.append(f"it accounts for {burden.share:.0%} of the extra {what} at {alarmed}")
        parts.append(f"{burden.own:.0%} of that does not come from what it depends on")
    return f"{name}: " + "; ".join(parts) + "."
