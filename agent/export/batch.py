"""How much goes into one request: by count, by the bytes that points have had so far, and less after "too large"."""

from __future__ import annotations

import gzip
import math
import zlib
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zstandard

from agent.export.model import Batch, Limits
from agent.metrics.model import Histogram

MARGIN = 0.9  # of a limit of bytes is aimed at, since points differ
_GZIP_LEVEL = 2  # the CPU is ours, and the wire is cheap
_ZSTD_LEVEL = 1
_TELLING = 16  # points at least, for a request whose bytes tell something of other requests
_GROW_AFTER = 8  # requests taken in a row, before a lane that was cut is given a quarter more


def cut(batch: Batch, begin: int, end: int) -> Batch:
    """Points (or events) begin to end of it."""
    if begin == 0 and end >= len(batch):
        return batch
    part = slice(begin, end)
    return Batch(
        batch.lane,
        batch.time,
        batch.interval,
        batch.series[part],
        batch.values[part],
        batch.starts[part],
        batch.events[part],
    )


def sift(batch: Batch, largest: float) -> tuple[Batch, Counter[str]]:
    """The points that any vendor may be sent, and how many others there were, by reason."""
    values = batch.values
    if batch.events or not values:
        return batch, Counter()
    if isinstance(values[0], Histogram):
        numbers = [value.sum if isinstance(value, Histogram) else value for value in values]
    else:
        numbers = values  # type: ignore[assignment]
    # NaN spreads through a sum, and so does infinity; a sum that overflows is looked at more closely.
    if math.isfinite(sum(numbers)) and max(numbers) <= largest and min(numbers) >= -largest:
        return batch, Counter()
    reasons: Counter[str] = Counter()
    good = []
    for index, number in enumerate(numbers):
        if not math.isfinite(number):
            reasons["not_finite"] += 1
        elif abs(number) > largest:
            reasons["value_too_large"] += 1
        else:
            good.append(index)
    if not reasons:
        return batch, reasons
    kept: list[Any] = [values[index] for index in good]
    sifted = Batch(
        batch.lane,
        batch.time,
        batch.interval,
        tuple(batch.series[index] for index in good),
        array("d", kept) if isinstance(values, array) else kept,
        array("d", [batch.starts[index] for index in good]) if batch.starts else (),
    )
    return sifted, reasons


def out_of_time(batch: Batch, limits: Limits, now: float, oldest: float | None = None) -> str | None:
    """Why points of this time are not sent any more, or not yet, in a word; None when they are.

    `oldest` is the user's own limit, in seconds.
    """
    age = now - batch.time
    most = limits.oldest if oldest is None else min(oldest, limits.oldest)
    return "too_old" if age > most else "too_new" if -age > limits.newest else None


def compressor(encoding: str) -> Callable[[bytes], bytes]:
    """What compresses for a Content-Encoding: "gzip", "zstd", "deflate" or "" for not at all."""
    if encoding == "gzip":
        return lambda data: gzip.compress(data, _GZIP_LEVEL, mtime=0)
    if encoding == "zstd":
        compress: Callable[[bytes], bytes] = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress
        return compress
    if encoding == "deflate":  # which means zlib's format (RFC 9110, 8.4.1.2)
        return lambda data: zlib.compress(data, _GZIP_LEVEL)
    return lambda data: data


def encoding_for(wanted: str, limits: Limits) -> str:
    """How a body for this lane is compressed, when the user wants "gzip", "zstd" or "none"."""
    if wanted == "none" or not limits.encodings:
        return ""
    return wanted if wanted in limits.encodings else limits.encodings[0]


@dataclass(slots=True)
class _Lane:
    raw: float = 0.0  # bytes per point, as seen lately
    compressed: float = 0.0
    cap: int | None = None  # points, after the vendor said that so many are too large
    taken: int = 0  # requests in a row


class Sizes:
    """Learns how many points of each lane fit into a request. Used by one thread."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}

    def points(self, lane: str, limits: Limits, waiting: int) -> int:
        """How many of those that wait are to go into the next request: at least one."""
        known = self._lanes.get(lane)
        size = min(waiting, limits.points)
        if known is not None:
            for each, most in ((known.raw, limits.raw_bytes), (known.compressed, limits.compressed_bytes)):
                if each * size > most * MARGIN:
                    size = int(most * MARGIN / each)
            if known.cap is not None:
                size = min(size, known.cap)
        return max(1, size)

    def learn(self, lane: str, points: int, raw: int, compressed: int) -> None:
        """So many points were of that many bytes. Growth counts at once, shrinking little by little."""
        known = self._lanes.setdefault(lane, _Lane())
        if known.raw and points < _TELLING:
            return  # what surrounds the points counts most in it
        known.raw = _followed(known.raw, raw / points)
        known.compressed = _followed(known.compressed, compressed / points)

    def too_large(self, lane: str, points: int) -> None:
        """So many points did not fit."""
        known = self._lanes.setdefault(lane, _Lane())
        known.cap, known.taken = max(1, points // 2), 0

    def taken(self, lane: str) -> None:
        """A request was taken."""
        known = self._lanes.setdefault(lane, _Lane())
        known.taken += 1
        if known.cap is not None and known.taken >= _GROW_AFTER:
            known.cap, known.taken = known.cap + known.cap // 4 + 1, 0


def _followed(known: float, seen: float) -> float:
    return seen if seen > known else known + 0.2 * (seen - known)
