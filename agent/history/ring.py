"""The newest rows of one plugin's series, as columns of numbers: 8 bytes a value, and no object for a series.

Each delivery of the plugin is a row with its own time; a series has a slot, the same index in every row. NaN means that
nothing was delivered. A histogram takes a slot for its count, one for its sum and one for each bucket.

Rows leave as blocks: each series belongs to one of SHARDS by its name, and the shards are due one after the other, so
that the work is spread evenly over the time that a block covers.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from agent.metrics.model import Histogram, Sample, SeriesKey

SHARDS = 16
BLOCK_SECONDS = 300.0  # what a block covers
MOST_ROWS = 60  # of a block, where the plugin delivers often
SLACK = 6  # rows that are kept besides, for a writer that is late

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Column:
    """One series in a block: its values, NaN where there was none; of a histogram the counts, `sums` and `buckets`."""

    key: SeriesKey
    values: array[float]
    bounds: tuple[float, ...] = ()
    sums: array[float] | None = None
    buckets: tuple[array[float], ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """The columns of one shard, all over the same times (Unix seconds)."""

    shard: int
    times: array[float]
    columns: Sequence[Column]
    lost: int = 0  # rows that had left the ring before they were taken


@dataclass(slots=True)
class _Layout:
    """What lies from a histogram's slot on: its count, its sum, and len(bounds) + 1 buckets."""

    bounds: tuple[float, ...]

    @property
    def width(self) -> int:
        return 3 + len(self.bounds)


@dataclass
class Ring:
    """The rows of one plugin. Not for several threads at once.

    interval: seconds from one delivery to the next, as configured.
    """

    interval: float
    _rows: deque[array[float]] = field(default_factory=deque)
    _times: deque[float] = field(default_factory=deque)
    _slots: dict[SeriesKey, int] = field(default_factory=dict)
    _layouts: dict[SeriesKey, _Layout] = field(default_factory=dict)
    _members: list[set[SeriesKey]] = field(default_factory=lambda: [set() for _ in range(SHARDS)])
    _free: dict[int, list[int]] = field(default_factory=dict)  # slots by width
    _size: int = 0
    _metrics: dict[str, list[SeriesKey]] | None = None  # the series of each, until they change
    _tick: int = 0  # number of the newest row, from 1
    _taken: list[int] = field(default_factory=lambda: [0] * SHARDS)

    @property
    def block(self) -> int:
        """How many rows a block has."""
        return max(1, min(MOST_ROWS, round(BLOCK_SECONDS / self.interval)))

    def __len__(self) -> int:
        return len(self._slots)

    def append(self, time: float, samples: Mapping[SeriesKey, Sample]) -> None:
        """A delivery at a Unix time."""
        slots = self._slots
        row = array("d", [math.nan]) * self._size
        for key, sample in samples.items():
            value = sample.value
            slot = slots.get(key)
            if isinstance(value, Histogram):
                layout = self._layouts.get(key)
                if slot is None or layout is None or layout.bounds != value.bounds:
                    slot = self._make(key, _Layout(value.bounds), row)
                row[slot] = value.count
                row[slot + 1] = value.sum
                row[slot + 2 : slot + 3 + len(value.bounds)] = array("d", value.counts)
            else:
                if slot is None:
                    slot = self._make(key, None, row)
                row[slot] = value
        self._rows.append(row)
        self._times.append(time)
        self._tick += 1
        while len(self._rows) > self.block + SLACK:
            self._rows.popleft()
            self._times.popleft()

    def due(self) -> list[int]:
        """The shards whose block is full, or that were missed."""
        block, now = self.block, self._tick
        return [
            shard
            for shard, taken in enumerate(self._taken)
            if (now + shard * block // SHARDS) % block == 0 or now - taken >= block + SLACK
        ]

    def take(self, shard: int) -> Rows | None:
        """What was delivered of a shard since it was last taken; None for nothing. Series without a value are freed."""
        first = self._tick - len(self._rows)  # number of the last row that has left
        since = max(self._taken[shard], first)
        lost = since - self._taken[shard]
        self._taken[shard] = self._tick
        rows = list(self._rows)[since - first :]
        if not rows:
            return None
        times = array("d", list(self._times)[since - first :])
        columns: list[Column] = []
        for key in list(self._members[shard]):
            slot, layout = self._slots[key], self._layouts.get(key)
            values = _column(rows, slot)
            if all(map(math.isnan, values)):
                self._forget(key)
            elif layout is None:
                columns.append(Column(key, values))
            else:
                buckets = tuple(_column(rows, slot + 2 + number) for number in range(len(layout.bounds) + 1))
                columns.append(Column(key, values, layout.bounds, _column(rows, slot + 1), buckets))
        return Rows(shard, times, columns, lost) if columns else None

    def keys(self, metric: str) -> list[SeriesKey]:
        """The series of a metric that are here."""
        if self._metrics is None:
            self._metrics = {}
            for key in self._slots:
                self._metrics.setdefault(key[0], []).append(key)
        return self._metrics.get(metric, [])

    def points(self, key: SeriesKey) -> list[Point]:
        """What is here of a series, oldest first by arrival."""
        slot = self._slots.get(key)
        if slot is None:
            return []
        return [(time, row[slot]) for time, row in self._rows_from(slot) if row[slot] == row[slot]]

    def histograms(self, key: SeriesKey) -> list[tuple[float, Histogram]]:
        """The same for a histogram, with its buckets."""
        slot, layout = self._slots.get(key), self._layouts.get(key)
        if slot is None or layout is None:
            return []
        end = slot + layout.width
        return [
            (time, Histogram(layout.bounds, tuple(map(int, row[slot + 2 : end])), row[slot + 1]))
            for time, row in self._rows_from(slot)
            if row[slot] == row[slot]
        ]

    def latest(self, key: SeriesKey) -> Point | None:
        """The newest point of a series."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        for time, row in zip(reversed(self._times), reversed(self._rows), strict=True):
            if slot < len(row) and row[slot] == row[slot]:
                return time, row[slot]
        return None

    def _rows_from(self, slot: int) -> Iterator[tuple[float, array[float]]]:
        """The rows that were made when there was this slot."""
        return ((time, row) for time, row in zip(self._times, self._rows, strict=True) if slot < len(row))

    def _make(self, key: SeriesKey, layout: _Layout | None, row: array[float]) -> int:
        if key in self._slots:
            self._forget(key)
        width = 1 if layout is None else layout.width
        if free := self._free.get(width):
            slot = free.pop()
            for old in self._rows:  # what another series left there is on the disk
                for index in range(slot, min(slot + width, len(old))):
                    old[index] = math.nan
        else:
            slot = self._size
            self._size += width
            row.extend([math.nan] * width)
        self._slots[key], self._metrics = slot, None
        if layout is not None:
            self._layouts[key] = layout
        self._members[shard_of(key)].add(key)
        return slot

    def _forget(self, key: SeriesKey) -> None:
        slot, layout = self._slots.pop(key), self._layouts.pop(key, None)
        self._metrics = None
        self._members[shard_of(key)].discard(key)
        self._free.setdefault(1 if layout is None else layout.width, []).append(slot)


def shard_of(key: SeriesKey) -> int:
    """To which shard a series belongs, in every run of the agent."""
    return zlib.crc32("\0".join((key[0], *key[1])).encode("utf-8", "surrogatepass")) % SHARDS


def _column(rows: Sequence[array[float]], slot: int) -> array[float]:
    return array("d", [row[slot] if slot < len(row) else math.nan for row in rows])
