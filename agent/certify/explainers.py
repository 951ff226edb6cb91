"""What an explainer is asked, and what its causes must be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from agent.certify.rig import Rig, fail
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.model import Histogram, SeriesKey
from agent.plugin.loaded import LoadedPlugin

_SINCE = 1_700_000_000.0
_STEP = 10.0  # seconds between rows
_ROWS = 360
_LEVEL, _SEEN, _TIME = "predis_certify_level", "predis_certify_seen_total", "predis_certify_time_seconds"


def ask(rig: Rig, plugin: LoadedPlugin) -> list[Cause]:
    """Have it explain everything; the check fails when an answer is unsound. Gives all causes."""
    rig.timed(plugin, "predis_start", lambda: plugin.start(rig.host()))
    found: list[Cause] = []
    for what, incident, history in incidents():
        causes = rig.timed(plugin, f"predis_causes, {what},", partial(plugin.causes, incident, history))
        rig.said += [f"cause {cause}" for cause in causes]
        if problem := problem_of(causes):
            fail(f"predis_causes, {what}, gives {problem}")
        found += causes
    rig.timed(plugin, "predis_stop", plugin.stop)
    return found


class Levels:
    """A history in which each known series was at its level, give or take one, and began to rise at _SINCE."""

    def __init__(self, levels: dict[SeriesKey, float]) -> None:
        self._levels = levels

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        return [key for key in self._levels if key[0] == metric]

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, float]]:
        level = self._levels.get(key)
        if level is None:
            return ()
        rows = ((_SINCE + _STEP * row, level + row % 3 - 1 + 50.0 * max(0, row)) for row in range(-_ROWS, 6))
        return [(at, value) for at, value in rows if start <= at <= end]

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[tuple[float, float]]]]:
        return ((key, self.points(key, start, end)) for key in keys)

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        if key[0] != _TIME:
            return ()
        return [(at, Histogram((0.1, 1.0), (int(n), 1, 1), n)) for at, n in self.points(key, start, end)]

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, tuple[float, float]]:
        return {key: self.points(key, 0.0, math.inf)[-1] for key in keys if key in self._levels}


def incidents() -> Iterator[tuple[str, Incident, Levels]]:
    """What is asked, each with what is special, as the end of a sentence."""
    level, seen, took = (_LEVEL, ("a",)), (_SEEN, ()), (_TIME, ())
    known, nothing = Levels({level: 100.0, seen: 5000.0, took: 70.0}), Levels({})

    def incident(*anomalies: Anomaly, closed: float | None = None) -> Incident:
        return Incident("certify-1", _SINCE, "A level is too high", anomalies, closed=closed)

    yield "of an incident of one series", incident(_anomaly(level)), known
    yield "without history", incident(_anomaly(level)), nothing
    yield "of several series", incident(_anomaly(level), _anomaly(seen, 5.0), _anomaly(took, 20.0)), known
    yield "of two channels of a series", incident(_anomaly(level), _anomaly(level, channel="shift")), known
    for value in (math.nan, math.inf):
        yield f"with {value} for a value", incident(_anomaly(level, value=value)), known
    many = [_anomaly((_LEVEL, (f"w{number}",)), number / 100) for number in range(500)]
    yield "of 500 series", incident(*many), Levels({anomaly.series: 100.0 for anomaly in many})
    yield "of a metric that nobody declares", incident(_anomaly(("predis_certify_unknown", ("x",)))), known
    yield "of an incident that is over", incident(_anomaly(level), closed=_SINCE + 60), known
    yield "without anomalies", incident(), known


def problem_of(causes: Sequence[Cause]) -> str:
    """What is wrong with the causes of one incident; empty if nothing is."""
    for cause in causes:
        if not isinstance(cause.component, str) or not cause.component.strip():
            return f"a cause whose component is {cause.component!r}: name what is to be looked at"
        if isinstance(cause.score, bool) or not isinstance(cause.score, int | float) or not math.isfinite(cause.score):
            return f"a cause whose score is {cause.score!r}: it is to be a number"
        if not isinstance(cause.why, str) or not cause.why.strip() or "\n" in cause.why:
            return f"a cause that does not say why in a sentence: {cause.why!r}"
        if not all(isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], tuple) for key in cause.series):
            return f"a cause with series {cause.series!r}: each is to be (name, label values)"
    components = [cause.component for cause in causes]
    if twice := next((name for name in components if components.count(name) > 1), None):
        return f"two causes of one component: {twice}"
    if any(later.score > earlier.score for earlier, later in pairwise(causes)):
        return f"causes that are not in order, most probable first: {[cause.score for cause in causes]}"
    return ""


def _anomaly(key: SeriesKey, after: float = 0.0, *, value: float = 300.0, channel: str = "limit") -> Anomaly:
    since = _SINCE + after
    history = tuple((since + _STEP * row, 100.0 + row % 3) for row in range(-30, 0))
    labels = ("who",) * len(key[1])
    return Anomaly(key, labels, since, since + 50.0, channel, value, 95.0, 105.0, 0.99, 1e-6, history)
