"""From anomalies to incidents: grouped, explained, kept, told. Everything happens on one thread of its own.

Detectors only leave what they found. So neither a disk that hangs nor a plugin that does holds up anything else.
"""

from __future__ import annotations

import heapq
import logging
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from agent.export.model import Event
from agent.incidents.document import summary
from agent.incidents.grouping import MOST_MEMBERS, SHOWN, Changes, Grouper, Open
from agent.incidents.model import Anomaly, Cause, Incident
from agent.incidents.store import FILE, IncidentStore
from agent.metrics.model import Kind, MetricSpec, Sample
from agent.sqlite_file import is_broken

TICK = 10.0  # seconds
ASK_AGAIN = (5.0, 15.0, 30.0, 60.0, 180.0)  # seconds after the opening: more is known by then of what came when
GROWN = 1.5  # times as many series, for which causes are asked anew
RETRY = 30.0
EARLIER = ""  # whose causes they are that were found before the agent was started again
MOST_CAUSES = 50  # of one plugin for one incident
LONGEST_WHY = 2000  # characters
_LATEST = 1e11  # Unix seconds that are a time
_MOST_WAITING = 200  # looks of detectors that wait for this thread

SPECS = (
    MetricSpec("predis_anomalies", Kind.gauge, "Anomalies that last, in an incident or not yet."),
    MetricSpec("predis_incidents_open", Kind.gauge, "Incidents that last."),
    MetricSpec("predis_incidents_total", Kind.counter, "Incidents that were opened."),
    MetricSpec("predis_incident_errors_total", Kind.counter, "Failures to keep or to read incidents."),
)

log = logging.getLogger(__name__)


class Incidents:
    """The incidents of an agent. `found` and `explained` may be called from any thread; they return at once.

    explain: asks for an incident's causes, which come to `explained`. detectors: the plugins that look for anomalies.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        explain: Callable[[Incident], None] = lambda incident: None,
        detectors: Callable[[], set[str]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._emit, self._explain, self._detectors, self._clock = emit, explain, detectors, clock
        self._lock = threading.Lock()
        self._grouper = Grouper()
        self._over: dict[str, Incident] = {}  # closed in this run, newest last, for as long as no disk has them
        self._store: IncidentStore | None = None
        self._store_lock = threading.Lock()
        self._given: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._asked: dict[str, tuple[int, int]] = {}  # by incident: how many series when last asked, how often by time
        self._unwritten: set[str] = set()
        self._opened = self._errors = 0
        self._error: str | None = None
        self._open_at = 0.0
        self._broken = False  # the file is to be moved aside
        self._thread = threading.Thread(target=self._loop, name="incidents", daemon=True)

    def start(self, folder: Path) -> None:
        """Take up the incidents that lasted, and begin."""
        self._store = IncidentStore(folder / FILE)
        self._open_store(self._store)
        self._thread.start()

    def stop(self) -> None:
        """Keep what is known."""
        if self._thread.is_alive():
            try:
                self._given.put(None, timeout=1.0)
            except queue.Full:
                return
            self._thread.join(3.0)

    def found(self, plugin: str, at: float, anomalies: Sequence[Anomaly]) -> None:
        """A detector has looked at a snapshot of this Unix time: these anomalies last."""
        self._later(lambda: self._look(plugin, at, anomalies))

    def explained(self, plugin: str, incident: str, causes: Sequence[Cause]) -> None:
        """What a plugin takes for the causes of an incident."""
        self._later(lambda: self._take_causes(plugin, incident, causes))

    def open_ones(self) -> tuple[Incident, ...]:
        """The incidents that last, oldest first."""
        with self._lock:
            return tuple(one.incident() for one in self._grouper.open.values())

    def newest(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest incidents in a line each, newest first, closed ones included."""
        kept: list[dict[str, Any]] = self._read(lambda store: store.newest(limit), [])
        found = {line["id"]: line for line in kept}
        with self._lock:
            found |= {incident.id: summary(incident) for incident in self._over.values()}
        found |= {incident.id: summary(incident) for incident in self.open_ones()}
        return sorted(found.values(), key=lambda line: -line["opened"])[:limit]

    def get(self, identifier: str) -> Incident | None:
        """One incident, or None."""
        with self._lock:
            one = self._grouper.open.get(identifier)
            if one is not None:
                return one.incident()
            if identifier in self._over:
                return self._over[identifier]
        found: Incident | None = self._read(lambda store: store.get(identifier), None)
        return found

    def status(self) -> dict[str, Any]:
        """For the status document: how many, and a summary of those that last."""
        return {
            "open": [summary(incident) for incident in self.open_ones()],
            "anomalies": self._counts()[0],
            "opened": self._opened,
            "errors": self._errors,
            "error": self._error,
        }

    def collect(self) -> Iterator[Sample]:
        """The samples of SPECS."""
        anomalies, incidents = self._counts()
        yield Sample("predis_anomalies", anomalies)
        yield Sample("predis_incidents_open", incidents)
        yield Sample("predis_incidents_total", self._opened)
        yield Sample("predis_incident_errors_total", self._errors)

    def _counts(self) -> tuple[int, int]:
        """How many anomalies and incidents last; the thread that looks after them may be about to change that."""
        with self._lock:
            return self._grouper.active, len(self._grouper.open)

    def _later(self, work: Callable[[], None]) -> None:
        try:
            self._given.put_nowait(work)
        except queue.Full:
            self._errors += 1
            self._error = "more is found than can be looked at"

    def _loop(self) -> None:
        while True:
            try:
                work = self._given.get(timeout=TICK)
            except queue.Empty:
                work = self._tick
            if work is None:
                self._write_all()
                if self._store is not None:
                    self._store.close()
                return
            try:
                work()
            except Exception as error:  # this thread must live
                self._errors += 1
                self._error = f"unexpected {type(error).__name__}: {error}"
                log.exception("looking after incidents failed unexpectedly")

    def _look(self, plugin: str, at: float, anomalies: Sequence[Anomaly]) -> None:
        anomalies = self._sound(plugin, anomalies)
        with self._lock:
            changes = self._grouper.look(plugin, at, anomalies)
        self._tell(changes)
        self._tick()

    def _sound(self, plugin: str, anomalies: Sequence[Anomaly]) -> Sequence[Anomaly]:
        """Those that can be grouped, of a flood the rarest: while they are grouped, rules and the status wait."""
        sound = [one for one in anomalies if 0 <= one.since < _LATEST and 0 <= one.time < _LATEST and one.score >= 0]
        left = sound if len(sound) <= MOST_MEMBERS else heapq.nlargest(MOST_MEMBERS, sound, key=lambda one: one.score)
        if len(left) < len(anomalies):
            self._errors += 1
            what = f"{len(anomalies) - len(left)} anomalies of {plugin} are left out: too many, or no times and scores"
            log.warning("%s", what)
        return left

    def _tick(self) -> None:
        now = self._clock()
        if self._detectors is not None:
            with self._lock:
                forsaken = self._grouper.forsaken(now, self._detectors())
            self._tell(Changes(closed=forsaken))
        for one in list(self._grouper.open.values()):
            self._ask(one, now)
        store = self._store
        if store is not None and not store.is_open and time.monotonic() >= self._open_at:
            self._open_store(store)
        self._write_all()

    def _tell(self, changes: Changes) -> None:
        for one in changes.opened:
            self._opened += 1
            self._unwritten.add(one.id)
            incident = one.incident()
            log.warning("incident %s: %s", one.id, incident.title)
            self._event("incident_opened", incident, self._clock(), None)
        self._unwritten.update(one.id for one in changes.grown)
        for one, at in changes.closed:
            incident = one.incident(closed=at)
            self._asked.pop(one.id, None)
            with self._lock:
                self._over[one.id] = incident
                while len(self._over) > 100:
                    del self._over[next(iter(self._over))]
            self._unwritten.add(one.id)
            log.info("incident %s is over after %.0f s", one.id, at - one.opened)
            self._event("incident", incident, one.opened, max(0.0, at - one.opened))

    def _event(self, kind: str, incident: Incident, at: float, duration: float | None) -> None:
        """Tell exporters; with a duration it is the span of the whole incident, otherwise something within."""
        severity: Literal["warning", "error"] = "error" if incident.severity == "critical" else "warning"
        trace, span = incident.attributes["trace_id"], incident.attributes["span_id"]
        why = "".join(f"\nprobable cause: {cause.why}" for cause in incident.causes[:3])
        ids = {"span_id": span} if duration is not None else {"parent_id": span}
        attributes = {"incident": incident.id, "series": incident.attributes["series"]}
        if incident.causes:
            attributes["cause"] = incident.causes[0].component
        self._emit(Event(at, kind, incident.title, why.strip(), severity, attributes, duration, trace_id=trace, **ids))

    def _ask(self, one: Open, now: float) -> None:
        """Ask for causes when it opens, as it grows, and once more is known."""
        series, times = self._asked.get(one.id, (0, 0))
        age = now - one.opened
        due = times < len(ASK_AGAIN) and age >= ASK_AGAIN[times]
        if not series or len(one.series) >= GROWN * series or due:
            while times < len(ASK_AGAIN) and age >= ASK_AGAIN[times]:
                times += 1
            self._asked[one.id] = (len(one.series), times)
            self._explain(one.incident())

    def _take_causes(self, plugin: str, identifier: str, causes: Sequence[Cause]) -> None:
        with self._lock:
            one = self._grouper.open.get(identifier)
            if one is None:
                return
            before = one.incident().causes[:1]
            one.causes.pop(EARLIER, None)
            one.causes[plugin] = tuple(_most_probable(causes))
            incident = one.incident()
        self._unwritten.add(identifier)
        if incident.causes and [c.component for c in before] != [incident.causes[0].component]:
            self._event("incident_explained", incident, self._clock(), None)
        self._write_all()

    def _write_all(self) -> None:
        store = self._store
        if store is None or not store.is_open:
            return
        for identifier in list(self._unwritten):
            with self._lock:
                one = self._grouper.open.get(identifier)
                incident = self._over.get(identifier) if one is None else one.incident()
            kept = {} if one is None else {"plugins": sorted(one.plugins), "ended": one.ended, "looked": one.looked}
            try:
                if incident is not None:
                    with self._store_lock:
                        store.write(incident, kept)
            except sqlite3.Error as error:
                self._failed(error)
                return
            self._unwritten.discard(identifier)
        self._error = None if self._store is not None and self._store.is_open else self._error

    def _open_store(self, store: IncidentStore) -> None:
        self._open_at = time.monotonic() + RETRY
        try:
            with self._store_lock:
                aside = store.open(anew=self._broken)
                lasting = store.open_ones()
                strangers = store.close_strangers(self._clock())
        except sqlite3.Error as error:
            self._failed(error)
            store.close()
            return
        self._broken = False
        if strangers:
            what = "another version of the agent wrote them, and this one cannot read them"
            log.warning("%d open incidents are closed: %s: %s", len(strangers), what, ", ".join(strangers[:10]))
        if aside:
            self._errors += 1
            log.error("%s cannot be used: it was moved to %s, and a new one is begun", store.path, aside)
        with self._lock:
            for incident, kept in lasting:
                if incident.id not in self._grouper.open and incident.id not in self._over:
                    self._grouper.open[incident.id] = resumed(incident, kept, self._clock())

    def _read(self, ask: Callable[[IncidentStore], Any], nothing: Any) -> Any:
        store = self._store
        if store is None or not store.is_open:
            return nothing
        try:
            with self._store_lock:
                return ask(store)
        except sqlite3.Error as error:
            self._failed(error)
            return nothing

    def _failed(self, error: sqlite3.Error) -> None:
        self._errors += 1
        store = self._store
        if store is not None and is_broken(error):
            with self._store_lock:
                store.close()
            self._broken, self._open_at = True, 0.0
        what = f"{self._store.path if self._store is not None else FILE}: {error}"
        if self._error is None:
            log.error("incidents cannot be kept: %s", what)
        self._error = what


def _most_probable(causes: Sequence[Cause]) -> list[Cause]:
    """The causes that are kept: each look at an incident goes through all of them, and each change writes them."""
    known = [cause for cause in causes if not math.isnan(cause.score)]
    kept = heapq.nlargest(MOST_CAUSES, known, key=lambda cause: cause.score)
    return [replace(cause, why=cause.why[:LONGEST_WHY], series=cause.series[:SHOWN]) for cause in kept]


def resumed(incident: Incident, kept: dict[str, Any], now: float) -> Open:
    """An incident of an earlier run: it lasts on under its name, and ends if nothing of it is found any more."""
    one = Open(incident.id, incident.opened, dict(incident.attributes))
    plugins = [str(plugin) for plugin in kept.get("plugins", ())]
    for anomaly in incident.anomalies:
        one.take(plugins[0] if plugins else "", anomaly)
    one.active.clear()
    one.plugins = set(plugins)
    one.ended = one.looked = now  # from here on it is quiet, or not
    if incident.causes:
        one.causes[EARLIER] = incident.causes
    return one
