"""What the agent and a plugin's own process say to each other: JSON with its length before it, on a socket.

Never pickle: what comes from the plugin's side is data that may be wrong in any way, and is checked as such.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from agent.export.model import Event
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample

HEAD = struct.Struct(">I")
LARGEST = 4 << 20  # bytes of one frame from a plugin
CHUNK = 500  # samples in one frame

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
        return [value.bounds, value.counts, value.sum]
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
    if isinstance(value, list):
        bounds, counts, total = value
        value = Histogram(tuple(bounds), tuple(counts), total)
    return Sample(name, value, tuple(labels))


def _spec(name: Any, kind: Any, text: Any, unit: Any, labels: Any, bounds: Any) -> MetricSpec:
    return MetricSpec(name, Kind(kind), text, unit, tuple(labels), tuple(bounds))


def checked(make: Callable[[], Given], what: str) -> Given:
    """What `make` makes of JSON; raises WireError when that fails as it does with data that are otherwise."""
    try:
        return make()
    except (TypeError, ValueError, AttributeError, KeyError, OverflowError):
        raise WireError(f"it sent {what} that cannot be read") from None
