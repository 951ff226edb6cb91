"""What the host's half of an exporter and the vendor's half say to each other.

The host takes snapshots, turns them into points, queues, batches, compresses, retries and spools them, and keeps the
books. The vendor's half, a Destination, says what it takes, writes it down in the vendor's format, and sends it once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from agent.metrics.model import Histogram, MetricSpec


class Temporality(StrEnum):
    """What the numbers of counters and histograms count since."""

    cumulative = "cumulative"  # since the series began; the batch says when that was
    delta = "delta"  # since the point before; the batch says how long that is


@dataclass(eq=False, slots=True, weakref_slot=True)
class Series:
    """One series as one exporter knows it. The same object each time, so that what was prepared can be kept by it.

    Weak references to it are possible, so that what was prepared goes with a series that vanishes.
    """

    spec: MetricSpec
    labels: tuple[str, ...]

    def tags(self) -> Mapping[str, str]:
        """Label values by label name; empty values say nothing and are left out."""
        return {name: value for name, value in zip(self.spec.labels, self.labels, strict=True) if value}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: once, or, with a duration, from then on.

    `time` is Unix time in seconds and `duration` seconds; with one, the event is a span. `kind` is one word for
    machines, such as "cache_restarted". `trace_id` (32 hex digits), `span_id` and `parent_id` (16) tie spans together.
    """

    time: float
    kind: str
    title: str
    text: str = ""
    severity: Literal["info", "warning", "error"] = "info"
    attributes: Mapping[str, str] = field(default_factory=dict)
    duration: float | None = None
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes out in one request: points of one lane, all of one time, or events.

    `series` and `values` are of the same length. Values of counters and histograms are deltas over `interval` seconds,
    or cumulative since `starts` (Unix times, one for each series), as the destination wishes. `time` is Unix time.
    Exactly one of `series` and `events` is empty.
    """

    lane: str
    time: float
    interval: float = 0.0
    series: Sequence[Series] = ()
    values: Sequence[float | Histogram] = ()
    starts: Sequence[float] = ()
    events: Sequence[Event] = ()

    def __len__(self) -> int:
        return len(self.series) + len(self.events)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request to a lane may hold. Bytes are counted of what `encode` gives (raw) and of that compressed.

    Points older than `oldest` seconds, or more than `newest` in the future, are dropped and counted before they are
    sent; so are values that are not finite or, taken absolutely, above `largest`. `encodings`: in which ways a body may
    be compressed, of gzip, zstd and deflate. The user's choice counts where it is among them, otherwise the first;
    where there are none, bodies go out as they are.
    """

    points: int
    raw_bytes: int
    compressed_bytes: int
    oldest: float
    newest: float = 600.0
    largest: float = 1.7976931348623157e308
    encodings: tuple[str, ...] = ("gzip", "zstd")


@dataclass(frozen=True, slots=True)
class Body:
    """An encoded batch: `data` as it goes out, and how it was compressed, as Content-Encoding says it ("" for not)."""

    lane: str
    data: bytes
    encoding: str


class Verdict(StrEnum):
    """What became of one request."""

    accepted = "accepted"
    retry = "retry"  # it may be accepted later
    too_large = "too large"  # in smaller pieces it may be
    refused = "refused"  # never: the same request need not be sent again


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vendor said to one request.

    `reason` is one short word for a metric's label, such as "http_403"; `detail` a sentence for people, without
    secrets. `retry_after`: seconds that the vendor asked to wait. `rejected`: points that an accepting vendor did not
    take. `maybe_taken`: the request went out and no answer came, so that sending it again may count it twice.
    """

    verdict: Verdict
    reason: str = ""
    detail: str = ""
    retry_after: float | None = None
    rejected: int = 0
    maybe_taken: bool = False


class NotNow(Exception):
    """What `encode` raises when nothing is wrong with the points: they wait as after a failed request."""


class Destination(Protocol):
    """The vendor's half of an exporter.

    `encode`, `send` and `close` are called on one thread of the exporter's own, so they may block within the timeouts.
    The others may be called from other threads as well, and only say what they know.
    """

    temporality: Temporality

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        """Which of the vendor's interfaces take this metric; none: it is not exported, and counted as unsupported."""

    def event_lanes(self, event: Event) -> Sequence[str]:
        """Which of the vendor's interfaces take this event; none: it is not exported."""

    def limits(self, lane: str) -> Limits:
        """What one request may hold."""

    def encode(self, batch: Batch) -> bytes:
        """The batch in the vendor's format, not compressed; empty if there is nothing in it to say, such as a histogram
        without observations: that counts as delivered and is not sent."""

    def send(self, body: Body) -> Answer:
        """Send it once: no retries. What it raises counts as no answer."""

    def close(self) -> None:
        """Close connections. Called once."""
