"""Which anomalies belong together: one incident for what began together, however many series show it.

An anomaly joins an open incident when it is of a series that the incident has, or of kin (kin_of), or when it began
within TOGETHER seconds of another anomaly there, for as long as the incident is young. So a storm of alerts is one
incident, and a slow drift of one component does not open another each minute. An incident opens once an anomaly has
lasted for two looks of the detector, or MANY began at once, and closes when none has lasted for `quiet` seconds: what
comes back before that is the same incident still.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from agent.config.units import format_number
from agent.incidents.cache import new_id
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.model import SeriesKey

TOGETHER = 60.0  # seconds between onsets that are taken for one
YOUNG = 900.0  # seconds for which an incident takes in what merely began at the same time
MANY = 3  # anomalies at once that are not waited for
QUIET = 120.0
FORSAKEN = 900.0  # seconds without a look of its detector, after which an incident is closed
SHOWN = 100  # anomalies that an incident keeps with their evidence
MOST_MEMBERS = 20_000
CRITICAL_SERIES = 20
# Labels that name a part of the system, the most telling first.
_COMPONENT_LABELS = (
    "service",
    "component",
    "tenant",
    "model",
    "exporter",
    "plugin",
    "gpu",
    "uuid",
    "device",
    "interface",
)

Mark = tuple[SeriesKey, str]  # what an anomaly is of, whenever it began


def component_of(anomaly: Anomaly) -> str:
    """The part of the system that a series tells of, such as "tenant:shop" or "cache": what its detector says, and
    otherwise what the series itself does."""
    return anomaly.component or kin_of(anomaly)


def kin_of(anomaly: Anomaly) -> str:
    """What a series' labels, or the first word of its metric, say that it is of.

    Incidents are grouped by this and not by component: most series are of the cache, and an incident of it would take
    in all of them for as long as it lasts.
    """
    labels = dict(zip(anomaly.labels, anomaly.series[1], strict=False))
    for name in _COMPONENT_LABELS:
        if labels.get(name):
            return f"{name}:{labels[name]}"
    words = anomaly.series[0].removeprefix("predis_").split("_")
    return words[0]


def series_text(anomaly: Anomaly) -> str:
    """A series as Prometheus writes it."""
    labels = ",".join(
        f'{name}="{value}"' for name, value in zip(anomaly.labels, anomaly.series[1], strict=False) if value
    )
    return f"{anomaly.series[0]}{{{labels}}}" if labels else anomaly.series[0]


def quantity_of(anomaly: Anomaly) -> str:
    """What the numbers of an anomaly are, where they are not what the series itself is: its name may say seconds, and
    they how often a second."""
    return {"rate": "observations a second", "mean": "mean"}.get(anomaly.channel.rpartition(".")[2], "")


def _told(before: Anomaly | None, anomaly: Anomaly) -> Anomaly:
    """An anomaly with the value to tell of it: the newest that was off.

    One lasts for some rows in which the value is back already: told with that one, it would say nothing.
    """
    if before is None or before.since != anomaly.since or not _within(anomaly) or _within(before):
        return anomaly
    return replace(anomaly, value=before.value, low=before.low, high=before.high)


def _within(anomaly: Anomaly) -> bool:
    return anomaly.low <= anomaly.value <= anomaly.high


@dataclass(eq=False)
class Open:
    """An incident that lasts."""

    id: str
    opened: float
    attributes: dict[str, str]
    plugins: set[str] = field(default_factory=set)
    active: dict[tuple[str, Mark], Anomaly] = field(default_factory=dict)  # by who found it
    kept: dict[Mark, Anomaly] = field(default_factory=dict)  # with evidence, those that ended included
    components: set[str] = field(default_factory=set)  # as people are told
    kin: set[str] = field(default_factory=set)  # as it is grouped
    series: set[SeriesKey] = field(default_factory=set)
    newest_onset: float = 0.0
    ended: float = 0.0  # when the last of them was over
    looked: float = 0.0  # when a detector looked last
    causes: dict[str, tuple[Cause, ...]] = field(default_factory=dict)  # by plugin

    def take(self, plugin: str, anomaly: Anomaly) -> bool:
        """An anomaly is part of it; whether it was not before."""
        mark = (anomaly.series, anomaly.channel)
        new = mark not in self.kept and anomaly.series not in self.series
        self.plugins.add(plugin)
        self.active[plugin, mark] = anomaly
        self.newest_onset = max(self.newest_onset, anomaly.since)
        if len(self.series) < MOST_MEMBERS:
            self.series.add(anomaly.series)
            self.components.add(component_of(anomaly))
            self.kin.add(kin_of(anomaly))
        if mark in self.kept or len(self.kept) < SHOWN:
            before = self.kept.get(mark)
            if before is None or anomaly.time >= before.time:
                self.kept[mark] = _told(before, anomaly)
        else:
            least = min(self.kept, key=lambda of: self.kept[of].score)
            if self.kept[least].score < anomaly.score:
                del self.kept[least]
                self.kept[mark] = anomaly
        return new

    @property
    def severity(self) -> str:
        """By how much of the system shows it."""
        return "critical" if len(self.series) >= CRITICAL_SERIES else "warning"

    def incident(self, closed: float | None = None) -> Incident:
        """It as others see it."""
        anomalies = tuple(sorted(self.kept.values(), key=lambda anomaly: (-anomaly.score, anomaly.since)))
        causes = sorted((cause for some in self.causes.values() for cause in some), key=lambda cause: -cause.score)
        attributes = {
            **self.attributes,
            "series": str(len(self.series)),
            "components": ", ".join(sorted(self.components)[:20]),
        }
        return Incident(
            self.id, self.opened, self._title(anomalies), anomalies, tuple(causes), closed, self.severity, attributes
        )

    def _title(self, anomalies: Sequence[Anomaly]) -> str:
        if not anomalies:
            return "an anomaly"
        # What is back within its band already, as after a jump, would say little.
        first = next((one for one in anomalies if not _within(one)), anomalies[0])
        more = len(self.series) - 1
        value = "no value" if math.isnan(first.value) else format_number(first.value)
        low, high = format_number(first.low), format_number(first.high)
        band = f"{value}, expected {low} to {high}"
        if first.channel.startswith("flatline"):
            band = f"stays at {value}, expected to move between {low} and {high}"
        quantity = quantity_of(first)
        what = f"{series_text(first)}, {quantity}," if quantity else series_text(first)
        text = f"{what} is off ({first.channel}): {band}"
        return text + (f"; {more} more series" if more > 0 else "")


@dataclass
class Changes:
    """What one look of a detector changed."""

    opened: list[Open] = field(default_factory=list)
    grown: list[Open] = field(default_factory=list)
    closed: list[tuple[Open, float]] = field(default_factory=list)


class Grouper:
    """The open incidents. Not for several threads at once."""

    def __init__(self, quiet: float = QUIET) -> None:
        self.quiet = quiet
        self.open: dict[str, Open] = {}
        self._waiting: dict[tuple[str, Mark], tuple[Anomaly, int]] = {}  # seen so many times, in no incident yet

    @property
    def active(self) -> int:
        """How many anomalies last."""
        return sum(len(one.active) for one in self.open.values()) + len(self._waiting)

    def look(self, plugin: str, now: float, anomalies: Iterable[Anomaly]) -> Changes:
        """A detector has looked at a snapshot of this Unix time: these anomalies last, and no others of its own."""
        changes = Changes()
        grown: dict[str, Open] = {}
        seen: set[Mark] = set()
        newcomers: list[Anomaly] = []
        for anomaly in anomalies:
            mark = (anomaly.series, anomaly.channel)
            seen.add(mark)
            home = self._home(anomaly)
            if home is None:
                newcomers.append(anomaly)
            elif home.take(plugin, anomaly):
                grown[home.id] = home
        self._end(plugin, now, seen)
        changes.opened = self._newcomers(plugin, now, newcomers)
        changes.grown = list(grown.values())
        changes.closed = self._close(now)
        return changes

    def forsaken(self, now: float, detectors: set[str]) -> list[tuple[Open, float]]:
        """Closes what no detector looks at any more."""
        self._heed_clock(now)
        lost = [
            one
            for one in self.open.values()
            if now - one.looked > FORSAKEN or (one.plugins and not one.plugins & detectors and now - one.looked > QUIET)
        ]
        for one in lost:
            one.attributes["closed_because"] = "its detector does not look any more"
            del self.open[one.id]
        return [(one, now) for one in lost]

    def _home(self, anomaly: Anomaly) -> Open | None:
        """The open incident that an anomaly belongs to."""
        kin = kin_of(anomaly)
        best: tuple[int, float, Open] | None = None
        for one in self.open.values():
            near = abs(anomaly.since - one.newest_onset) <= TOGETHER or abs(anomaly.since - one.opened) <= TOGETHER
            young = anomaly.since - one.opened <= YOUNG
            rank = 3 if anomaly.series in one.series else 2 if kin in one.kin else 1 if near and young else 0
            if rank and (best is None or (rank, one.opened) > best[:2]):
                best = (rank, one.opened, one)
        return None if best is None else best[2]

    def _newcomers(self, plugin: str, now: float, anomalies: list[Anomaly]) -> list[Open]:
        before = self._waiting
        self._waiting = {key: value for key, value in before.items() if key[0] != plugin}
        confirmed, opened = [], []
        for anomaly in anomalies:
            key = (plugin, (anomaly.series, anomaly.channel))
            times = 1
            if key in before:
                anomaly, times = _told(before[key][0], anomaly), before[key][1] + 1
            self._waiting[key] = (anomaly, times)
            if times >= 2 or len(anomalies) >= MANY:
                confirmed.append(anomaly)
        for anomaly in sorted(confirmed, key=lambda one: one.since):
            home = self._home(anomaly)
            if home is None:
                home = self._begin(anomaly, now)
                opened.append(home)
            home.take(plugin, anomaly)
        # What waits may belong to what has just been opened.
        for key, (anomaly, _) in list(self._waiting.items()):
            home = self._home(anomaly)
            if home is not None:
                home.take(key[0], anomaly)
                del self._waiting[key]
        return opened

    def _begin(self, anomaly: Anomaly, now: float) -> Open:
        ids = {"trace_id": new_id(16), "span_id": new_id(8)}
        began = min(anomaly.since, now)
        identifier = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(began))}-{new_id(2)}"
        one = Open(identifier, began, ids, looked=now)
        self.open[identifier] = one
        return one

    def _end(self, plugin: str, now: float, seen: set[Mark]) -> None:
        for one in self.open.values():
            if plugin in one.plugins:
                one.looked = max(one.looked, now)
                gone = [of for of in one.active if of[0] == plugin and of[1] not in seen]
                for of in gone:
                    del one.active[of]
                if gone:
                    one.ended = max(one.ended, now)

    def _close(self, now: float) -> list[tuple[Open, float]]:
        self._heed_clock(now)
        over = [one for one in self.open.values() if not one.active and now - max(one.ended, one.opened) >= self.quiet]
        for one in over:
            del self.open[one.id]
        return [(one, max(one.ended, one.opened)) for one in over]

    def _heed_clock(self, now: float) -> None:
        """Where the clock was set back, what lies ahead of it counts as of now: it would stay open until then."""
        for one in self.open.values():
            one.opened, one.ended, one.looked = min(one.opened, now), min(one.ended, now), min(one.looked, now)
            one.newest_onset = min(one.newest_onset, now)
