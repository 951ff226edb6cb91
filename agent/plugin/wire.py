"""What the agent and a plugin's own process say to each other: JSON with its length before it, on a socket.

Never pickle: what comes from the plugin's side is data that may be wrong in any way, and is checked as such.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import socket
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from agent.export.model import Answer, Batch, Event, Limits, Series, Verdict
from agent.metrics.model import Exemplar, Histogram, Kind, MetricSpec, Sample

HEAD = struct.Struct(">I")
LARGEST = 4 << 20  # bytes of one frame from a plugin
CHUNK = 500  # samples in one frame
PIECE = 1 << 20  # bytes of an encoded batch in one frame

Given = TypeVar("Given")


class WireError(Exception):
    """The other side sent something that is no answer."""


def pack(message: Any) -> bytes:
    """A message as a frame."""
    data = json.dumps(message, separators=(",", ":")).encode()
    return HEAD.pack(len(data)) + data


def take(buffer: bytearray, largest: int = LARGEST) -> Any:
    """The first message of a buffer, taken out of it; None when it is not all there. Raises WireError."""
    if len(buffer) < HEAD.size:
        return None
    (length,) = HEAD.unpack_from(buffer)
    if length > largest:
        raise WireError(f"it sent a message of {length} bytes")
    if len(buffer) < HEAD.size + length:
        return None
    data = bytes(buffer[HEAD.size : HEAD.size + length])
    del buffer[: HEAD.size + length]
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise WireError("it sent something that is no message") from None


def receive(connection: socket.socket) -> Any:
    """Wait for one message of the agent's; None when the agent has closed the connection."""
    head = _exactly(connection, HEAD.size)
    if head is None:
        return None
    data = _exactly(connection, HEAD.unpack(head)[0])
    return None if data is None else json.loads(data)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    received = bytearray()
    while len(received) < size:
        piece = connection.recv(min(size - len(received), 1 << 20))
        if not piece:
            return None
        received += piece
    return bytes(received)


def dump_sample(sample: Sample) -> list[Any]:
    """A sample as JSON has it."""
    return [sample.name, dump_value(sample.value), sample.labels]


def dump_value(value: float | Histogram) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Histogram):
        plain = [value.bounds, value.counts, value.sum]
        if not value.exemplars and value.fine is None:
            return plain
        exemplars = [[one.labels, one.value, one.time] for one in value.exemplars]
        return [*plain, exemplars, None if value.fine is None else dump_value(value.fine)]
    return value if isinstance(value, (int, float)) else float(value)


def dump_spec(spec: MetricSpec) -> list[Any]:
    """A metric's declaration as JSON has it."""
    return [spec.name, spec.kind, spec.help, spec.unit, spec.labels, spec.bounds]


def chunks(samples: Iterable[Sample]) -> Iterator[list[Any]]:
    """Samples as JSON has them, in lists that fit a frame. Raises TypeError for what is no sample."""
    chunk: list[Any] = []
    for sample in samples:
        if not isinstance(sample, Sample):
            raise TypeError(f"predis_collect gave a {type(sample).__name__} among its samples")
        chunk.append(dump_sample(sample))
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    yield chunk


def load_samples(given: Any) -> list[Sample]:
    """Samples from JSON. Raises WireError; whether they fit the catalogue is the pipeline's to say."""
    return checked(lambda: [_sample(*row) for row in given], "samples")


def load_specs(given: Any) -> tuple[MetricSpec, ...]:
    """Declarations from JSON. Raises WireError."""
    return checked(lambda: tuple(_spec(*row) for row in given), "metrics")


def dump_batch(batch: Batch) -> dict[str, Any]:
    """A batch as JSON has it: each metric once, whatever the number of its series."""
    specs: dict[MetricSpec, int] = {}
    series = [[specs.setdefault(each.spec, len(specs)), each.labels] for each in batch.series]
    return {
        "lane": batch.lane,
        "time": batch.time,
        "interval": batch.interval,
        "specs": list(map(dump_spec, specs)),
        "series": series,
        "values": [dump_value(value) for value in batch.values],
        "starts": list(batch.starts),
        "events": list(map(dump_event, batch.events)),
    }


def load_batch(given: Any, series_of: Callable[[MetricSpec, tuple[str, ...]], Series]) -> Batch:
    """A batch from JSON; `series_of` gives the object of a series. Raises WireError."""
    specs = load_specs(given["specs"])
    series = tuple(series_of(specs[number], tuple(labels)) for number, labels in given["series"])
    values: list[Any] = [load_value(value) for value in given["values"]]
    numbers = values if values and isinstance(values[0], Histogram) else array("d", values)
    events = tuple(map(load_event, given["events"]))
    return Batch(given["lane"], given["time"], given["interval"], series, numbers, array("d", given["starts"]), events)


def dump_answer(answer: Answer) -> dict[str, Any]:
    """What a vendor said, as JSON has it. Raises TypeError for what is no Answer."""
    if not isinstance(answer, Answer):
        raise TypeError(f"send gave a {type(answer).__name__}, no Answer")
    return dataclasses.asdict(answer)


def load_answer(given: Any) -> Answer:
    """What a vendor said, from JSON. Raises WireError."""

    def made() -> Answer:
        answer = Answer(**{**given, "verdict": Verdict(given["verdict"])})
        wait = answer.retry_after
        kinds = (type(answer.reason), type(answer.detail), type(answer.rejected), type(answer.maybe_taken))
        if kinds != (str, str, int, bool) or not (wait is None or (type(wait) in (int, float) and math.isfinite(wait))):
            raise TypeError
        return answer

    return checked(made, "an answer")


def load_data(given: Any) -> bytes:
    """Bytes from JSON. Raises WireError."""
    return checked(lambda: base64.b64decode(given, validate=True), "data")


def load_lanes(given: Any) -> tuple[str, ...]:
    """Names of lanes from JSON. Raises WireError."""
    if not isinstance(given, list) or not all(isinstance(lane, str) for lane in given):
        raise WireError("it sent lanes that cannot be read")
    return tuple(given)


def load_limits(given: Any) -> Limits:
    """The limits of a lane from JSON. Raises WireError."""

    def made() -> Limits:
        limits = Limits(**{**given, "encodings": tuple(given["encodings"])})
        numbers = (limits.oldest, limits.newest, limits.largest)
        if not all(type(n) is int and n > 0 for n in (limits.points, limits.raw_bytes, limits.compressed_bytes)):
            raise TypeError
        if not all(type(n) in (int, float) for n in numbers) or not {*limits.encodings} <= {"gzip", "zstd", "deflate"}:
            raise TypeError
        return limits

    return checked(made, "limits")


def dump_event(event: Event) -> dict[str, Any]:
    """An event as JSON has it."""
    return {**dataclasses.asdict(event), "attributes": dict(event.attributes)}


def load_event(given: Any) -> Event:
    """An event from JSON. Raises WireError."""

    def made() -> Event:
        event = Event(**given)
        texts = (event.kind, event.title, event.text, event.trace_id, event.span_id, event.parent_id)
        attributes = (*event.attributes, *event.attributes.values())
        numbers = (event.time,) if event.duration is None else (event.time, event.duration)
        if not all(isinstance(text, str) for text in (*texts, *attributes)):
            raise TypeError
        if event.severity not in ("info", "warning", "error") or not all(type(n) in (int, float) for n in numbers):
            raise TypeError
        return event

    return checked(made, "an event")


def _sample(name: Any, value: Any, labels: Any) -> Sample:
    return Sample(name, load_value(value), tuple(labels))


def load_value(value: Any) -> Any:
    """A value from JSON: whether it is sound is the pipeline's to say. Raises TypeError or ValueError."""
    if not isinstance(value, list):
        return value
    bounds, counts, total, *more = value
    if not more:
        return Histogram(tuple(bounds), tuple(counts), total)
    exemplars = tuple(Exemplar(tuple((name, text) for name, text in labels), *rest) for labels, *rest in more[0])
    fine = None if more[1] is None else load_value(more[1])
    return Histogram(tuple(bounds), tuple(counts), total, exemplars, fine)


def _spec(name: Any, kind: Any, text: Any, unit: Any, labels: Any, bounds: Any) -> MetricSpec:
    return MetricSpec(name, Kind(kind), text, unit, tuple(labels), tuple(bounds))


def checked(make: Callable[[], Given], what: str) -> Given:
    """What `make` makes of JSON; raises WireError when that fails as it does with data that are otherwise."""
    try:
        return make()
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError):
        raise WireError(f"it sent {what} that cannot be read") from None
