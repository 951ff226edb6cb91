"""Edges learned from recorded incidents: what began before what, again and again.

Of each incident that is over, every two of its components are compared by when their first anomalies began. Where one
came first in nearly all incidents that both were in, and in enough of them, the other is taken to depend on it, as far
as nothing else tells what these two have to do with each other. Order is no proof, so this only brings a component into
reach of an alarm; it speaks against none. Old incidents are forgotten, as systems change.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

from agent.api import Incident
from plugins.anomaly.cause.model import SeriesKey

Edge = tuple[str, str]  # what suffers, what it depends on

LEAST: Final = 3  # incidents
SURE: Final = 0.8  # of the incidents of both, in which the one came first
LEAD: Final = 1.5  # intervals that an onset must be ahead of another
MOST_COMPONENTS: Final = 8  # of an incident: the order within a storm tells nothing
MOST_PAIRS: Final = 500  # the ones that were seen last are kept
MOST_LASTING: Final = 50
MEMORY: Final = 90 * 86400.0  # seconds in which an incident counts for 1/e
QUIET: Final = 120.0  # seconds without any of its anomalies, after which an incident is over


@dataclass
class _Pair:
    """How often the first of two came first, the second did, and neither; as of Unix second `when`."""

    first: float = 0.0
    second: float = 0.0
    neither: float = 0.0
    when: float = 0.0

    def fade(self, now: float) -> None:
        """Forget what lies back."""
        left = math.exp(-max(now - self.when, 0.0) / MEMORY)
        self.first, self.second, self.neither = self.first * left, self.second * left, self.neither * left
        self.when = max(self.when, now)


@dataclass
class _Lasting:
    """An incident that lasts: the onset of each component, its series, and when one of them was off last."""

    onsets: dict[str, float]
    series: set[SeriesKey]
    seen: float


class Learned:
    """What incidents taught. Times are Unix seconds."""

    def __init__(self) -> None:
        self._pairs: dict[Edge, _Pair] = {}
        self._lasting: dict[str, _Lasting] = {}

    def see(self, incident: Incident, components: Mapping[SeriesKey, str]) -> None:
        """An incident as it is now; `components` of its series."""
        one = self._lasting.setdefault(incident.id, _Lasting({}, set(), incident.opened))
        for anomaly in incident.anomalies:
            component = components[anomaly.series]
            one.onsets[component] = min(anomaly.since, one.onsets.get(component, math.inf))
            one.series.add(anomaly.series)
            one.seen = max(one.seen, anomaly.time)
        while len(self._lasting) > MOST_LASTING:
            del self._lasting[next(iter(self._lasting))]

    def settle(self, now: float, off: Collection[SeriesKey], interval: float) -> None:
        """Learn from the incidents that are over. off: the series that are anomalous now; interval: between rows."""
        for identifier, one in list(self._lasting.items()):
            if not one.series.isdisjoint(off):
                one.seen = now
            elif abs(now - one.seen) > QUIET:  # the clock may have been set back
                del self._lasting[identifier]
                self._learn(one.onsets, LEAD * interval, now)

    def edges(self, now: float) -> dict[Edge, int]:
        """What is learned, and from how many incidents."""
        found = {}
        for (first, second), pair in self._pairs.items():
            pair.fade(now)
            total = pair.first + pair.second + pair.neither
            for edge, count in (((second, first), pair.first), ((first, second), pair.second)):
                # Three of the last weeks have faded a little, and are three still.
                if round(count) >= LEAST and count >= SURE * total:
                    found[edge] = round(count)
        return found

    def _learn(self, onsets: Mapping[str, float], lead: float, now: float) -> None:
        if len(onsets) > MOST_COMPONENTS:
            return
        for first, second in combinations(sorted(onsets), 2):
            pair = self._pairs.pop((first, second), None) or _Pair()  # the newest are last
            self._pairs[first, second] = pair
            pair.fade(now)
            ahead = onsets[second] - onsets[first]
            pair.first += ahead >= lead
            pair.second += -ahead >= lead
            pair.neither += abs(ahead) < lead
        while len(self._pairs) > MOST_PAIRS:
            del self._pairs[next(iter(self._pairs))]

    def dump(self) -> dict[str, Any]:
        """What `restore` takes, as JSON has it."""
        return {
            "pairs": [[*edge, pair.first, pair.second, pair.neither, pair.when] for edge, pair in self._pairs.items()],
            "lasting": [
                [identifier, one.onsets, [[name, list(labels)] for name, labels in sorted(one.series)], one.seen]
                for identifier, one in self._lasting.items()
            ],
        }

    @classmethod
    def restore(cls, given: Mapping[str, Any]) -> Learned:
        """Takes up what `dump` gave. Raises KeyError, TypeError or ValueError where it is nothing of the kind."""
        made = cls()
        for first, second, *numbers in given["pairs"]:
            made._pairs[str(first), str(second)] = _Pair(*map(float, numbers))
        for identifier, onsets, series, seen in given["lasting"]:
            known = {str(name): float(since) for name, since in onsets.items()}
            made._lasting[str(identifier)] = _Lasting(
                known, {(str(name), tuple(map(str, labels))) for name, labels in series}, float(seen)
            )
        return made
