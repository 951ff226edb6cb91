"""A block on the disk: some minutes of the series of one shard, and the rollup of the same.

Numbers are written as doubles with their bytes regrouped (all first bytes, then all second ones, and so on), which is
what makes zlib shrink them: sign, exponent and leading digits change little from one value to the next. The idea is
that of the shuffle filter in HDF5 and Blosc.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from agent.history.ring import Column, Point, Rows
from agent.metrics.model import Histogram, SeriesKey

_HEAD = struct.Struct("<BII")
_VERSION = 1
_LEVEL = 1
_SCALAR = 1  # width of a series that is a number; a histogram has count, sum, buckets and bounds


class BlockError(Exception):
    """The bytes are no block of ours."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """A series over some minutes.

    `value` is the mean; of a counter, and of a histogram's count, the newest: all that matters of what only grows.
    `low` and `high` have single precision.
    """

    count: int
    low: float
    high: float
    value: float


def encode(rows: Rows, ids: Mapping[SeriesKey, int]) -> bytes:
    """The rows as bytes; `ids` has a number for each series."""
    values = array("d", rows.times)
    widths = array("H")
    for column in rows.columns:
        widths.append(_SCALAR if column.sums is None else 2 + len(column.buckets))
        values.extend(column.values)
        if column.sums is not None:
            values.extend(column.sums)
            for bucket in column.buckets:
                values.extend(bucket)
            values.extend(column.bounds)
    numbers = array("I", [ids[column.key] for column in rows.columns])
    head = _HEAD.pack(_VERSION, len(rows.times), len(numbers))
    return head + zlib.compress(numbers.tobytes() + widths.tobytes() + _shuffled(values.tobytes(), 8), _LEVEL)


class Block:
    """What `encode` wrote. Raises BlockError for anything else."""

    def __init__(self, data: bytes) -> None:
        length, series, rest = _open(data)
        self._ids, self._widths = array("I"), array("H")
        ids, widths = 4 * series, 2 * series
        try:
            self._ids.frombytes(rest[:ids])
            self._widths.frombytes(rest[ids : ids + widths])
            values = array("d")
            values.frombytes(_unshuffled(rest[ids + widths :], 8))
        except ValueError:
            raise BlockError("its parts do not fit together") from None
        self.times = values[:length]
        self._values, self._length = values, length

    @property
    def size(self) -> int:
        """Bytes that it takes in memory."""
        return 8 * len(self._values) + 6 * len(self._ids)

    def points(self, number: int) -> list[Point]:
        """The points of the series of this number."""
        place = self._place(number)
        return [] if place is None else self._points(place[0])

    def points_of(self, numbers: Collection[int]) -> Iterator[tuple[int, list[Point]]]:
        """The points of each of these series that are in here, with its number."""
        starts = dict(zip(self._ids, self._starts(), strict=True))
        return ((number, self._points(starts[number])) for number in numbers if number in starts)

    def _points(self, start: int) -> list[Point]:
        values = self._values[start : start + self._length]
        return [(time, value) for time, value in zip(self.times, values, strict=True) if value == value]

    def histograms(self, number: int) -> list[tuple[float, Histogram]]:
        """The same for a histogram, with its buckets."""
        place = self._place(number)
        if place is None or place[1] == _SCALAR:
            return []
        start, width = place
        rows = [self._values[start + at * self._length : start + (at + 1) * self._length] for at in range(width)]
        end = start + width * self._length
        bounds = tuple(self._values[end : end + width - 3])
        return [
            (time, Histogram(bounds, tuple(int(bucket[at]) for bucket in rows[2:]), rows[1][at]))
            for at, time in enumerate(self.times)
            if rows[0][at] == rows[0][at]
        ]

    def _place(self, number: int) -> tuple[int, int] | None:
        """Where the values of a series begin, and how many columns it has."""
        try:
            index = self._ids.index(number)
        except ValueError:
            return None
        return next(islice(self._starts(), index, None)), self._widths[index]

    def _starts(self) -> Iterator[int]:
        """Where the values of each series begin."""
        start = self._length
        for width in self._widths:
            yield start
            start += width * self._length + (width - 3 if width > _SCALAR else 0)


def encode_rollup(rows: Rows, ids: Mapping[SeriesKey, int]) -> bytes:
    """The rollup of the rows as bytes."""
    rollups = [roll_up(column) for column in rows.columns]
    numbers = array("I", [ids[column.key] for column in rows.columns])
    counts = array("H", [rollup.count for rollup in rollups])
    singles = array("f", [rollup.low for rollup in rollups])
    singles.extend(rollup.high for rollup in rollups)
    values = array("d", [rollup.value for rollup in rollups])
    parts = numbers.tobytes() + counts.tobytes() + _shuffled(singles.tobytes(), 4) + _shuffled(values.tobytes(), 8)
    return _HEAD.pack(_VERSION, 0, len(numbers)) + zlib.compress(parts, _LEVEL)


def read_rollup(data: bytes, number: int) -> Rollup | None:
    """The rollup of one series in what `encode_rollup` wrote; None if it is not in there. Raises BlockError."""
    _, series, rest = _open(data)
    ids, counts, singles, values = array("I"), array("H"), array("f"), array("d")
    try:
        ids.frombytes(rest[: 4 * series])
        counts.frombytes(rest[4 * series : 6 * series])
        singles.frombytes(_unshuffled(rest[6 * series : 14 * series], 4))
        values.frombytes(_unshuffled(rest[14 * series :], 8))
    except ValueError:
        raise BlockError("its parts do not fit together") from None
    if not len(ids) == len(counts) == len(values) == series or len(singles) != 2 * series:
        raise BlockError("its parts do not fit together")
    if number not in ids:
        return None
    at = ids.index(number)
    return Rollup(counts[at], singles[at], singles[series + at], values[at])


def roll_up(column: Column) -> Rollup:
    """What is left of a column; it has at least one value."""
    values: Sequence[float] = [value for value in column.values if value == value]
    grows = column.sums is not None or column.key[0].endswith("_total")
    value = values[-1] if grows else sum(values) / len(values)
    return Rollup(len(values), min(values), max(values), value)


def _open(data: bytes) -> tuple[int, int, bytes]:
    try:
        version, length, series = _HEAD.unpack_from(data)
        rest = zlib.decompress(data[_HEAD.size :])
    except (struct.error, zlib.error):
        raise BlockError("it cannot be read") from None
    if version != _VERSION:
        raise BlockError(f"it is of version {version}, this agent writes {_VERSION}")
    return length, series, rest


def _shuffled(data: bytes, size: int) -> bytes:
    return b"".join(data[at::size] for at in range(size))


def _unshuffled(data: bytes, size: int) -> bytes:
    length = len(data) // size
    if length * size != len(data):
        raise ValueError
    plain = bytearray(len(data))
    for at in range(size):
        plain[at::size] = data[at * length : (at + 1) * length]
    return bytes(plain)
