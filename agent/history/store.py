"""The agent's history: what plugins deliver goes into rings in memory, and from there to the disk on its own thread.

Nothing here may stop the agent: what the disk does not take waits and is dropped in the end, a file that cannot be used
is moved aside, and all of that is counted and shown. The newest minutes are in memory whatever the disk does.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter, methodcaller
from pathlib import Path
from typing import Any, Protocol

from agent.errors import PredisError
from agent.history.disk import Bounds, Disk
from agent.history.ring import SHARDS, Point, Ring, Rows, shard_of
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample, SeriesKey
from agent.sqlite_file import is_broken

FILE = "history.sqlite"
PRUNE_EVERY = 300.0  # seconds
RETRY = 30.0  # seconds after which a file that cannot be opened is tried again
_KNOWN_FOR, _MOST_KNOWN = 30.0, 500  # seconds for which the series on the disk need not be asked for again; metrics
_PATIENCE = 5.0  # seconds that the end waits for what is being written

SPECS = (
    MetricSpec("predis_history_series", Kind.gauge, "Series whose newest values are in memory."),
    MetricSpec("predis_history_bytes", Kind.gauge, "What history takes on the disk.", "bytes"),
    MetricSpec(
        "predis_history_errors_total",
        Kind.counter,
        "Failures of history by what failed: accept, open, write or read.",
        "",
        ("at",),
    ),
    MetricSpec("predis_history_dropped_total", Kind.counter, "Blocks of history that the disk did not take in time."),
)

log = logging.getLogger(__name__)


class Cold(Protocol):
    """Where history is read that is not in memory. Each raises PredisError when it cannot be read."""

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        """The series of a metric that are known there."""

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[Point]:
        """The points of a series in [start, end], oldest first."""

    def points_of(self, keys: Sequence[SeriesKey], start: float, end: float) -> Mapping[SeriesKey, Sequence[Point]]:
        """The same for many series; those without points may be missing."""

    def histograms(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        """The same for a histogram, with its buckets."""

    def latest(self, key: SeriesKey) -> Point | None:
        """The newest point of a series."""


class HistoryStore:
    """History of an agent's series: an `agent.metrics.history.History`. May be used from any thread.

    Before `use` it keeps the newest minutes alone.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()  # of the rings
        self._disk_lock = threading.Lock()
        self._rings: dict[str, Ring] = {}
        self._disk: Disk | None = None
        self._cold: Cold | None = None
        self._clock = clock
        self._errors: Counter[str] = Counter({"accept": 0, "open": 0, "write": 0, "read": 0})
        self._lost = 0
        self._known: dict[str, tuple[float, Sequence[SeriesKey]]] = {}  # what was written, by metric, until when
        self._error: str | None = None
        self._aside: str | None = None
        self._open_at = self._prune_at = 0.0  # monotonic
        self._work, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._loop, name="history", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def use(self, folder: Path | None, bounds: Bounds, cold: Cold | None = None) -> None:
        """From now on, keep what is older than minutes in a file in this folder, or nowhere; `cold` is read instead."""
        with self._disk_lock:
            self._cold = cold
            if self._disk is not None and folder is not None and self._disk.path == folder / FILE:
                self._disk.bounds = bounds
                return
            if self._disk is not None:
                self._lost += self._disk.dropped
                self._disk.close()
            self._disk = None if folder is None else Disk(folder / FILE, bounds, self._clock)
            self._open_at, self._error = 0.0, None
        self._known.clear()

    def stop(self) -> None:
        """Write what is in memory, and close the file."""
        self._stopping = True
        self._work.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def accept(self, source: str, interval: float, samples: Mapping[SeriesKey, Sample]) -> None:
        """A plugin has delivered; `interval` is its own, in seconds. Never raises, and never waits for the disk."""
        try:
            with self._lock:
                ring = self._rings.get(source)
                if ring is None:
                    ring = self._rings[source] = Ring(interval)
                ring.interval = interval
                ring.append(self._clock(), samples)
        except Exception as error:  # collecting goes on whatever becomes of history
            self._errors["accept"] += 1
            if self._errors["accept"] == 1:
                log.exception("what %s delivered cannot be kept", source)
            self._error = f"what {source} delivered cannot be kept: {error}"
        self._work.set()

    def keys(self, metric: str) -> Sequence[SeriesKey]:
        """The series of a metric that anything is known of."""
        with self._lock:
            here = [key for ring in self._rings.values() for key in ring.keys(metric)]
        now = time.monotonic()
        known = self._known.get(metric)
        if known is None or now >= known[0]:
            found: Sequence[SeriesKey] = self._read(methodcaller("keys", metric), ())
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            there = self._cold is not None or (self._disk is not None and self._disk.is_open)
            known = self._known[metric] = (now + _KNOWN_FOR if there else 0.0, found)
        return list(dict.fromkeys([*here, *known[1]]))

    def points(self, key: SeriesKey, start: float, end: float) -> Sequence[Point]:
        """(time, value) of a series in [start, end], oldest first, at the finest resolution that is kept for all of it.
        A histogram's value is its count."""
        with self._lock:
            here = [point for ring in self._rings.values() for point in ring.points(key)]
        return self._joined(here, start, end, lambda cold, until: cold.points(key, start, until))

    def points_of(
        self, keys: Iterable[SeriesKey], start: float, end: float
    ) -> Iterator[tuple[SeriesKey, Sequence[Point]]]:
        """`points` of many series, in the order in which they are kept: each block is read once for all of them."""
        together: dict[Any, list[SeriesKey]] = {}
        for key in dict.fromkeys(keys):
            together.setdefault(shard_of(key) if self._cold is None else key[0], []).append(key)
        for group in together.values():
            with self._lock:
                here = {key: [point for ring in self._rings.values() for point in ring.points(key)] for key in group}
            older = [key for key in group if _reaches_back(here[key], start)]
            found = self._read(methodcaller("points_of", older, start, end), {}) if older else {}
            for key in group:
                yield key, _merged(found.get(key, ()), here[key], start, end)

    def histogram_points(self, key: SeriesKey, start: float, end: float) -> Sequence[tuple[float, Histogram]]:
        """The same for a histogram, with its buckets, as far back as those are kept."""
        with self._lock:
            here = [point for ring in self._rings.values() for point in ring.histograms(key)]
        return self._joined(here, start, end, lambda cold, until: cold.histograms(key, start, until))

    def latest(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, Point]:
        """The newest (time, value) of each."""
        found: dict[SeriesKey, Point] = {}
        elsewhere: list[SeriesKey] = []
        with self._lock:
            rings = list(self._rings.values())
            for key in keys:
                points = [point for ring in rings if (point := ring.latest(key)) is not None]
                if points:
                    found[key] = max(points)
                else:
                    elsewhere.append(key)
        for key in elsewhere:
            point = self._read(methodcaller("latest", key), None)
            if point is not None:
                found[key] = point
        return found

    def status(self) -> dict[str, Any]:
        """For the status document."""
        with self._lock:
            series = sum(map(len, self._rings.values()))
        return {
            "series": series,
            "bytes": self._size(),
            "file": None if self._disk is None else str(self._disk.path),
            "errors": sum(self._errors.values()),
            "dropped": self._dropped(),
            "error": self._error,
            "moved_aside": self._aside,
        }

    def collect(self) -> Iterator[Sample]:
        """The samples of SPECS."""
        with self._lock:
            series = sum(map(len, self._rings.values()))
        yield Sample("predis_history_series", series)
        yield Sample("predis_history_bytes", self._size())
        for what, count in self._errors.items():
            yield Sample("predis_history_errors_total", count, (what,))
        yield Sample("predis_history_dropped_total", self._dropped())

    def _joined(
        self,
        here: Sequence[tuple[float, Any]],
        start: float,
        end: float,
        read: Callable[[Any, float], Sequence[tuple[float, Any]]],
    ) -> Sequence[tuple[float, Any]]:
        """What is in memory, and before that what is elsewhere."""
        older = self._read(lambda cold: read(cold, end), []) if _reaches_back(here, start) else []
        return _merged(older, here, start, end)

    def _read(self, ask: Callable[[Any], Any], nothing: Any) -> Any:
        """What the disk, or what stands in its place, answers; `nothing` when it cannot."""
        try:
            if self._cold is not None:
                return ask(self._cold)
            if self._disk is None or not self._disk.is_open:
                return nothing
            with self._disk_lock:
                return ask(self._disk)
        except (sqlite3.Error, PredisError) as error:
            self._failed("read", error)
            return nothing

    def _loop(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            last = self._stopping
            try:
                self._turn(last)
            except Exception as error:  # this thread must live
                self._errors["write"] += 1
                self._error = f"unexpected {type(error).__name__}: {error}"
                log.exception("writing history failed unexpectedly")
            if last:
                return

    def _turn(self, last: bool) -> None:
        """Put what is due on the disk; with `last`, all there is."""
        with self._disk_lock:
            disk = self._disk
            if disk is not None and not disk.is_open and (last or time.monotonic() >= self._open_at):
                self._open_at = time.monotonic() + RETRY
                self._guarded("open", disk.open)
        with self._lock:
            rings = list(self._rings.items())
        for source, ring in rings:
            with self._lock:
                due = range(SHARDS) if last else ring.due()
            for shard in due:
                with self._lock:
                    rows = ring.take(shard)
                if rows is not None and disk is not None:
                    self._add(disk, source, rows)
        with self._disk_lock:
            if disk is None or not disk.is_open:
                return
            if self._guarded("write", disk.write) and time.monotonic() >= self._prune_at:
                self._prune_at = time.monotonic() + PRUNE_EVERY
                self._guarded("write", disk.prune)
            if last:
                disk.close()

    def _add(self, disk: Disk, source: str, rows: Rows) -> None:
        with self._disk_lock:
            self._lost += 1 if rows.lost or not disk.is_open else 0
            if disk.is_open:
                self._guarded("write", partial(disk.add, source, rows))

    def _guarded(self, at: str, work: Callable[[], None]) -> bool:
        """Whether it could be done. The disk's lock is held."""
        try:
            work()
        except sqlite3.Error as error:
            self._failed(at, error)
            return False
        if self._error is not None and at == "write":
            log.info("history is written again")
        self._error = None if at == "write" else self._error
        return True

    def _failed(self, at: str, error: Exception) -> None:
        """Something went wrong with what is read or written; a file that is broken is moved aside."""
        self._errors[at] += 1
        disk, what = self._disk, str(error)
        if disk is not None and isinstance(error, sqlite3.Error) and is_broken(error):
            try:
                self._aside = str(disk.move_aside())
                what = f"{disk.path} cannot be used ({error}): it was moved to {self._aside}, and a new one is begun"
                self._open_at = 0.0
            except OSError as failure:
                what = f"{disk.path} cannot be used ({error}), and not be moved: {failure.strerror or failure}"
        elif disk is not None and self._cold is None:
            what = f"{disk.path}: {error}"
        if self._error is None:
            log.error("history: %s", what)
        self._error = what

    def _size(self) -> int:
        size = 0
        if self._disk is not None:
            for end in ("", "-wal"):
                with suppress(OSError):
                    size += os.stat(f"{self._disk.path}{end}").st_size
        return size

    def _dropped(self) -> int:
        return self._lost + (0 if self._disk is None else self._disk.dropped)


def _reaches_back(here: Sequence[tuple[float, Any]], start: float) -> bool:
    """Whether there may be more before what is in memory."""
    return start < min((at for at, _ in here), default=float("inf"))


def _merged(
    older: Sequence[tuple[float, Any]], here: Sequence[tuple[float, Any]], start: float, end: float
) -> list[tuple[float, Any]]:
    """Both, oldest first; of what is in both, memory counts."""
    found: dict[float, Any] = dict(older)
    found.update(point for point in here if start <= point[0] <= end)
    return sorted(found.items(), key=itemgetter(0))  # nearly free where they are in order; clocks are set back
