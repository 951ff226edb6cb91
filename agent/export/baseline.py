"""What the counters were at when all before had been delivered or spooled, kept over a restart of the agent.

The next run takes its first deltas from there, so that what counted on in between is not lost: not after a stop, and
not after SIGKILL, since the file never says more than has left the memory.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.metrics.model import Histogram, SeriesKey

_MAGIC = b"PXB1"
_HEAD = struct.Struct("<4sIdII")  # magic, checksum of the rest, time, bytes of the names, counters


@dataclass(frozen=True, slots=True)
class Names:
    """The series of a baseline, counters before histograms; the same object as long as they stay the same."""

    counters: tuple[SeriesKey, ...]
    histograms: tuple[SeriesKey, ...]
    packed: list[bytes] = field(default_factory=list)  # once it was needed

    def pack(self) -> bytes:
        if not self.packed:
            self.packed.append(zlib.compress(json.dumps([self.counters, self.histograms]).encode(), 1))
        return self.packed[0]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The values at `time` (Unix), and since when they count (for cumulative points), in the order of `names`."""

    time: float
    names: Names
    counters: array[float]
    histograms: tuple[Histogram, ...]
    starts: array[float]


def save(baseline: Baseline, path: Path) -> None:
    """Replaces the file, as a whole or not at all. Raises OSError."""
    names = baseline.names.pack()
    bounds: dict[tuple[float, ...], int] = {}
    shapes = [bounds.setdefault(value.bounds, len(bounds)) for value in baseline.histograms]
    tables = json.dumps([list(bounds), shapes]).encode()
    rest = b"".join(
        (
            names,
            baseline.counters.tobytes(),
            baseline.starts.tobytes(),
            array("d", [value.sum for value in baseline.histograms]).tobytes(),
            array("q", [count for value in baseline.histograms for count in value.counts]).tobytes(),
            tables,
            struct.pack("<I", len(tables)),
        )
    )
    head = _HEAD.pack(_MAGIC, zlib.crc32(rest), baseline.time, len(names), len(baseline.counters))
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        data = head + rest
        if os.write(descriptor, data) != len(data):
            raise OSError(f"{temporary} was written in part only")
    finally:
        os.close(descriptor)
    temporary.replace(path)


def load(path: Path) -> Baseline | None:
    """What an earlier run left; None for nothing that can be used."""
    try:
        data = path.read_bytes()
        magic, checksum, time, names_size, number = _HEAD.unpack_from(data)
        rest = data[_HEAD.size :]
        if magic != _MAGIC or zlib.crc32(rest) != checksum:
            return None
        counters, histograms = (
            tuple((name, tuple(labels)) for name, labels in keys)
            for keys in json.loads(zlib.decompress(rest[:names_size]))
        )
        (tables_size,) = struct.unpack("<I", rest[-4:])
        bounds, shapes = json.loads(rest[-4 - tables_size : -4])
        at = names_size
        numbers = array("d", rest[at : at + 8 * (2 * len(counters) + 2 * len(histograms))])
        counts = array("q", rest[at + 8 * len(numbers) : -4 - tables_size])
    except (OSError, ValueError, struct.error, zlib.error, TypeError):
        return None
    every = len(counters) + len(histograms)
    sums = numbers[number + every :]
    values, begin = [], 0
    for shape, total in zip(shapes, sums, strict=True):
        end = begin + len(bounds[shape]) + 1
        values.append(Histogram(tuple(bounds[shape]), tuple(counts[begin:end]), total))
        begin = end
    return Baseline(
        time, Names(counters, histograms), numbers[:number], tuple(values), numbers[number : number + every]
    )


def by_series(baseline: Baseline | None) -> Mapping[SeriesKey, tuple[float | Histogram, float]]:
    """Value and start of each series."""
    if baseline is None:
        return {}
    keys = (*baseline.names.counters, *baseline.names.histograms)
    values: tuple[float | Histogram, ...] = (*baseline.counters, *baseline.histograms)
    return {key: (value, start) for key, value, start in zip(keys, values, baseline.starts, strict=True)}
