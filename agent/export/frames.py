"""How batches lie in a segment of the spool: frames, each with its length and checksums, that need nothing outside it.

    frame   = head, payload
    head    = magic, kind, length of the payload, points, time, checksum of the payload, checksum of the head
    kinds   = NAMES   new metrics and series, numbered as they come
              LAYOUT  a list of series, numbered as they come
              POINTS  lane, layout, and the values in columns
              EVENTS  lane and events

Points of the same series follow each other every few seconds, so a point mostly costs its value alone: eight bytes,
less what compression takes off when the bytes of the same rank are put side by side.
"""

from __future__ import annotations

import dataclasses
import json
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from agent.export.model import Batch, Event, Series
from agent.metrics.model import Histogram, Kind, MetricSpec

MAGIC = b"\xf5PXF"
LARGEST_PAYLOAD = 64 << 20
MOST_POINTS = 4096  # of one frame: what is lost when one cannot be read
HEAD = struct.Struct("<4sBxxxIIdII")
_CHECKED = HEAD.size - 4  # bytes of the head that its checksum is of
_LEVEL = 1

Find = Callable[[MetricSpec, tuple[str, ...]], Series | None]


class FrameKind(IntEnum):
    """What a frame holds."""

    names = 1
    layout = 2
    points = 3
    events = 4


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a frame that begins at `begin` of its segment; `time` is Unix time, 0 for names and layouts."""

    kind: FrameKind
    size: int
    points: int
    time: float
    checksum: int
    begin: int

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.begin + HEAD.size + self.size


def read_head(data: bytes | memoryview, at: int, begin: int) -> Head | None:
    """The head at `at` of the data, which is at `begin` of the segment; None for what is none."""
    if len(data) - at < HEAD.size:
        return None
    magic, kind, size, points, time, checksum, own = HEAD.unpack_from(data, at)
    if magic != MAGIC or own != zlib.crc32(data[at : at + _CHECKED]) or size > LARGEST_PAYLOAD:
        return None
    return Head(FrameKind(kind), size, points, time, checksum, begin) if kind in set(FrameKind) else None


def scan(data: bytes, begin: int = 0) -> Iterator[Head | tuple[int, int]]:
    """The frames of a segment from `begin` on; a pair (begin, end) for each stretch that is none."""
    view, at, bad = memoryview(data), begin, -1
    while at < len(data):
        head = read_head(view, at, at)
        if head is not None and head.end <= len(data) and zlib.crc32(view[at + HEAD.size : head.end]) == head.checksum:
            if bad >= 0:
                yield bad, at
                bad = -1
            yield head
            at = head.end
            continue
        bad = at if bad < 0 else bad
        # Its length cannot be trusted when it is damaged: the next frame is looked for byte by byte.
        found = data.find(MAGIC, at + 1)
        at = len(data) if found < 0 else found
    if bad >= 0:
        yield bad, len(data)


def _frame(kind: FrameKind, payload: bytes, points: int = 0, time: float = 0.0) -> bytes:
    head = HEAD.pack(MAGIC, kind, len(payload), points, time, zlib.crc32(payload), 0)[:_CHECKED]
    return head + struct.pack("<I", zlib.crc32(head)) + payload


class Writer:
    """Makes the frames of one segment. What it has numbered counts once `keep` says that they were written."""

    def __init__(self) -> None:
        self._specs: dict[MetricSpec, int] = {}
        self._series: dict[Series, int] = {}
        self._layouts: dict[bytes, int] = {}
        self.forget()

    def frames(self, batch: Batch) -> bytes:
        """A batch as frames."""
        if batch.events:
            return self._events(batch)
        begins = range(0, len(batch.series), MOST_POINTS)
        return b"".join([self._points(batch, begin, begin + MOST_POINTS) for begin in begins])

    def keep(self) -> None:
        """The frames that were made last were written."""
        self._series.update(self._new_series)
        self._specs.update(self._new_specs)
        self._layouts.update(self._new_layouts)
        self.forget()

    def forget(self) -> None:
        """They were not."""
        self._new_specs: dict[MetricSpec, int] = {}
        self._new_series: dict[Series, int] = {}
        self._new_layouts: dict[bytes, int] = {}

    def _points(self, batch: Batch, begin: int, end: int) -> bytes:
        series, values, starts = batch.series[begin:end], batch.values[begin:end], batch.starts[begin:end]
        names = self._names(series)
        numbers = array("I", [self._number(each) for each in series]).tobytes()
        layout = self._layouts.get(numbers, self._new_layouts.get(numbers))
        if layout is None:
            layout = self._new_layouts[numbers] = len(self._layouts) + len(self._new_layouts)
            names += _frame(FrameKind.layout, zlib.compress(struct.pack("<I", layout) + numbers, _LEVEL))
        meta: dict[str, Any] = {"lane": batch.lane, "interval": batch.interval, "layout": layout, "n": len(series)}
        columns = _shuffled(array("d", starts)) if starts else b""
        if isinstance(values[0], Histogram):
            histograms = [value for value in values if isinstance(value, Histogram)]
            bounds: dict[tuple[float, ...], int] = {}
            meta["shapes"] = [bounds.setdefault(value.bounds, len(bounds)) for value in histograms]
            meta["bounds"] = list(bounds)
            columns += _shuffled(array("d", [value.sum for value in histograms]))
            columns += _shuffled(array("q", [count for value in histograms for count in value.counts]))
        else:
            columns += _shuffled(array("d", values))
        meta["starts"] = bool(starts)
        packed = json.dumps(meta, separators=(",", ":")).encode()
        payload = zlib.compress(struct.pack("<I", len(packed)) + packed + columns, _LEVEL)
        return names + _frame(FrameKind.points, payload, len(series), batch.time)

    def _events(self, batch: Batch) -> bytes:
        events = [{**dataclasses.asdict(event), "attributes": dict(event.attributes)} for event in batch.events]
        payload = zlib.compress(json.dumps({"lane": batch.lane, "events": events}).encode(), _LEVEL)
        return _frame(FrameKind.events, payload, len(batch.events), batch.time)

    def _number(self, series: Series) -> int:
        number = self._series.get(series)
        return self._new_series[series] if number is None else number

    def _names(self, every: Sequence[Series]) -> bytes:
        """A frame with the series that the segment has not named yet."""
        # With their numbers, so that a frame that is lost takes nobody else's name.
        specs: list[Any] = []
        new: list[Any] = []
        for series in every:
            if series in self._series or series in self._new_series:
                continue
            spec = series.spec
            number = self._specs.get(spec, self._new_specs.get(spec))
            if number is None:
                number = self._new_specs[spec] = len(self._specs) + len(self._new_specs)
                specs.append([number, spec.name, spec.kind, spec.help, spec.unit, spec.labels, spec.bounds])
            own = self._new_series[series] = len(self._series) + len(self._new_series)
            new.append([own, number, series.labels])
        if not new:
            return b""
        return _frame(FrameKind.names, zlib.compress(json.dumps([specs, new]).encode(), _LEVEL))


class Reader:
    """Understands the frames of one segment, given in order. `find` gives the object that a series has elsewhere."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._specs: dict[int, MetricSpec] = {}
        self._series: dict[int, Series] = {}
        self._layouts: dict[int, tuple[Series, ...]] = {}

    def learn(self, kind: FrameKind, payload: bytes) -> None:
        """A frame of names or a layout. Raises ValueError for one that cannot be understood."""
        try:
            data = zlib.decompress(payload)
            if kind is FrameKind.layout:
                own, *numbers = array("I", data)
                self._layouts[own] = tuple(map(self._series.__getitem__, numbers))
                return
            specs, series = json.loads(data)
            for number, name, metric_kind, text, unit, labels, bounds in specs:
                spec = MetricSpec(name, Kind(metric_kind), text, unit, tuple(labels), tuple(bounds))
                self._specs[number] = spec
            for own, number, labels in series:
                spec = self._specs[number]
                self._series[own] = self._find(spec, tuple(labels)) or Series(spec, tuple(labels))
        except (zlib.error, KeyError, TypeError) as error:
            raise ValueError(f"a frame of {kind.name} cannot be understood: {error}") from None

    def batch(self, head: Head, payload: bytes) -> Batch:
        """A frame of points or events. Raises ValueError for one that cannot be understood."""
        try:
            data = zlib.decompress(payload)
            if head.kind is FrameKind.events:
                document = json.loads(data)
                return Batch(document["lane"], head.time, events=tuple(Event(**event) for event in document["events"]))
            return self._points(head, data)
        except (zlib.error, struct.error, LookupError, TypeError) as error:
            raise ValueError(f"a frame of {head.kind.name} cannot be understood: {type(error).__name__}") from None

    def _points(self, head: Head, data: bytes) -> Batch:
        (size,) = struct.unpack_from("<I", data)
        meta = json.loads(data[4 : 4 + size])
        at, number = 4 + size, meta["n"]
        series = self._layouts[meta["layout"]]
        if len(series) != number or number != head.points:
            raise ValueError("a frame of points does not have as many as it says")
        starts: Sequence[float] = ()
        if meta["starts"]:
            starts, at = _unshuffled("d", data[at : at + 8 * number]), at + 8 * number
        values: Sequence[float | Histogram]
        if "bounds" in meta:
            bounds = [tuple(each) for each in meta["bounds"]]
            sums, at = _unshuffled("d", data[at : at + 8 * number]), at + 8 * number
            counts, histograms, begin = _unshuffled("q", data[at:]), [], 0
            for shape, total in zip(meta["shapes"], sums, strict=True):
                end = begin + len(bounds[shape]) + 1
                histograms.append(Histogram(bounds[shape], tuple(counts[begin:end]), total))
                begin = end
            values = histograms
        else:
            values = _unshuffled("d", data[at:])
        return Batch(meta["lane"], head.time, meta["interval"], series, values, starts)


def _shuffled(numbers: array[Any]) -> bytes:
    """First bytes first, then all second ones, and so on: alike numbers differ in some of them only."""
    raw = numbers.tobytes()
    return b"".join(raw[rank::8] for rank in range(8))


def _unshuffled(code: str, data: bytes) -> array[Any]:
    raw = bytearray(len(data))
    length = len(data) // 8
    for rank in range(8):
        raw[rank::8] = data[rank * length : (rank + 1) * length]
    return array(code, bytes(raw))
