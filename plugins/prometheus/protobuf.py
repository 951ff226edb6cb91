"""A snapshot in Prometheus' protobuf format: messages io.prometheus.client.MetricFamily, each after its length.

It is the one format in which Prometheus scrapes native histograms. The few messages, of
https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto, are written by hand: no
Python package that is kept up has them, and what is constant of a series can be written once. Numbers in names of
fields are the numbers of that file; a test reads the bytes back with the protobuf library.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import sub

from agent.api import Exemplar, Histogram, Kind, MetricSpec, Snapshot
from plugins.prometheus.exemplars import by_bucket
from plugins.prometheus.layout import Layout
from plugins.prometheus.native import SCHEMA, Buckets

CONTENT_TYPE = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

_VARINT, _FIXED64, _LENGTH = 0, 1, 2  # wire types
_COUNTER, _GAUGE, _HISTOGRAM = 0, 1, 4  # of the enumeration MetricType
_TYPES = {Kind.counter: _COUNTER, Kind.gauge: _GAUGE, Kind.info: _GAUGE, Kind.histogram: _HISTOGRAM}
_double = struct.Struct("<d").pack


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _SHORT[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SHORT = tuple(bytes((number,)) for number in range(0x80))


def _signed(number: int) -> bytes:
    """A sint32 or sint64."""
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _message(number: int, data: bytes) -> bytes:
    """A field that is a message, a text or packed."""
    return _tag(number, _LENGTH) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode())


# Tags of the fields that are written for each series at each scrape.
_METRIC = _tag(4, _LENGTH)
_OF_METRIC = _tag(7, _LENGTH)
_SAMPLE_COUNT, _SAMPLE_SUM, _BUCKET = _tag(1, _VARINT), _tag(2, _FIXED64), _tag(3, _LENGTH)
_CUMULATIVE_COUNT, _UPPER_BOUND = _tag(1, _VARINT), _tag(2, _FIXED64)
_ZERO_COUNT, _SPAN, _DELTAS = _tag(7, _VARINT), _tag(12, _LENGTH), _tag(13, _LENGTH)
_OFFSET, _SPAN_LENGTH = _tag(1, _VARINT), _tag(2, _VARINT)


@dataclass(slots=True)
class _Head:
    """What stands before a series' numbers: of a counter or gauge all of it, of a histogram its labels."""

    data: bytes
    bounds: tuple[float, ...] | None = None  # for which the next is
    edges: Sequence[bytes] = ()
    fine_bounds: tuple[float, ...] | None = None  # for which the next are
    buckets: Buckets | None = None
    native: bytes = b""


class Protobuf:
    """Writes snapshots; histograms as classic ones and, with `native`, as native ones too: who scrapes chooses.

    To be used by one thread at a time.
    """

    def __init__(self, native: bool) -> None:
        self._native = native
        self._layout = Layout(_top, _head)

    def write(self, snapshot: Snapshot) -> bytes:
        """All families, by name."""
        values = [sample.value for sample in snapshot.samples.values()]
        out: list[bytes] = []
        for family in self._layout.of(snapshot):
            own = [values[place] for place in family.places]
            if family.spec.kind is Kind.histogram:
                parts = [self._metric(head, value) for head, value in zip(family.heads, own, strict=True)]
            else:
                numbers: list[float] = own  # type: ignore[assignment]
                parts = [head.data + _double(number) for head, number in zip(family.heads, numbers, strict=True)]
            body = b"".join((family.top, *parts))
            out += (_varint(len(body)), body)
        return b"".join(out)

    def _metric(self, head: _Head, value: float | Histogram) -> bytes:
        assert isinstance(value, Histogram)
        data = self._histogram(head, value)
        metric = b"".join((head.data, _OF_METRIC, _varint(len(data)), data))
        return b"".join((_METRIC, _varint(len(metric)), metric))

    def _histogram(self, head: _Head, histogram: Histogram) -> bytes:
        bounds = histogram.bounds
        if bounds is not head.bounds:
            head.bounds = bounds
            head.edges = [_UPPER_BOUND + _double(bound) for bound in (*bounds, math.inf)]
        totals = list(accumulate(map(int, histogram.counts)))  # numpy's numbers and floats are no integers to write
        out = [_SAMPLE_COUNT, _varint(totals[-1]), _SAMPLE_SUM, _double(histogram.sum)]
        exemplars = by_bucket(histogram) if histogram.exemplars else {}
        for number, (total, edge) in enumerate(zip(totals, head.edges, strict=True)):
            bucket = _CUMULATIVE_COUNT + _varint(total) + edge
            if number in exemplars:
                bucket += _message(3, _exemplar(exemplars[number]))
            out += (_BUCKET, _varint(len(bucket)), bucket)
        if self._native:
            out += self._of_native(head, histogram.fine or histogram, exemplars.values())
        return b"".join(out)

    def _of_native(self, head: _Head, histogram: Histogram, exemplars: Iterable[Exemplar]) -> Iterable[bytes]:
        if histogram.bounds is not head.fine_bounds:
            head.fine_bounds, head.buckets = histogram.bounds, Buckets.of(histogram.bounds)
            if head.buckets is not None:
                schema = _tag(5, _VARINT) + _signed(SCHEMA)
                head.native = schema + _tag(6, _FIXED64) + _double(head.buckets.zero_threshold) + _ZERO_COUNT
        if head.buckets is None:
            return
        every = list(map(int, histogram.counts))
        spans, counts = head.buckets.spread(every)
        yield head.native + _varint(every[0])
        for offset, length in spans:
            span = _OFFSET + _signed(offset) + _SPAN_LENGTH + _varint(length)
            yield _SPAN + _varint(len(span)) + span
        if counts:
            deltas = b"".join(map(_signed, map(sub, counts, (0, *counts[:-1]))))
            yield _DELTAS + _varint(len(deltas)) + deltas
        # by time: Prometheus takes none that is older than the last
        for exemplar in sorted(exemplars, key=lambda one: one.time):
            yield _message(16, _exemplar(exemplar))


def _exemplar(exemplar: Exemplar) -> bytes:
    seconds = math.floor(exemplar.time)
    nanoseconds = min(int((exemplar.time - seconds) * 1e9), 999_999_999)
    time = _tag(1, _VARINT) + _varint(seconds) + _tag(2, _VARINT) + _varint(nanoseconds)
    labels = b"".join(_label(1, name, value) for name, value in exemplar.labels)
    return labels + _tag(2, _FIXED64) + _double(exemplar.value) + _message(3, time)


def _label(number: int, name: str, value: str) -> bytes:
    return _message(number, _text(1, name) + _text(2, value))


def _top(spec: MetricSpec) -> bytes:
    """Prometheus takes the name of a family for that of its series; so a counter's has its _total."""
    head = _text(1, spec.name) + _text(2, spec.help) + _tag(3, _VARINT) + _varint(_TYPES[spec.kind])
    return head + (_text(5, spec.unit) if spec.unit else b"")


def _head(spec: MetricSpec, values: tuple[str, ...]) -> _Head:
    labels = b"".join(_label(1, name, value) for name, value in zip(spec.labels, values, strict=True))
    if spec.kind is Kind.histogram:
        return _Head(labels)
    number = 3 if spec.kind is Kind.counter else 2
    head = labels + _tag(number, _LENGTH) + _varint(9) + _tag(1, _FIXED64)
    return _Head(_METRIC + _varint(len(head) + 8) + head)
