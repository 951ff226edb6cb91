"""A destination that does what a test tells it, and snapshots to feed it: a double of a plugin's half, of no vendor."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterable, Sequence

import zstandard

from agent.api import (
    Answer,
    Batch,
    Body,
    Event,
    Histogram,
    Kind,
    Limits,
    MetricSpec,
    Sample,
    Snapshot,
    Temporality,
    Verdict,
)

START = 1_800_000_000.0
LEVEL = MetricSpec("predis_level", Kind.gauge, "A level.", "", ("who",))
HITS = MetricSpec("predis_hits_total", Kind.counter, "Hits.", "", ("who",))
TIMES = MetricSpec("predis_time_seconds", Kind.histogram, "Times.", "seconds", ("who",))
INFO = MetricSpec("predis_build_info", Kind.info, "What it is.", "", ("version",))
SPECS = {spec.name: spec for spec in (LEVEL, HITS, TIMES, INFO)}
ACCEPT = Answer(Verdict.accepted)
RETRY = Answer(Verdict.retry, "http_503", "busy")
LOST = Answer(Verdict.retry, "connection_lost", "gone", maybe_taken=True)
TOO_LARGE = Answer(Verdict.too_large, "http_413", "too much")
REFUSED = Answer(Verdict.refused, "http_403", "no such key")

Step = Answer | Exception | Callable[[Body], Answer]


def snapshot(time: float, *samples: Sample) -> Snapshot:
    """A snapshot at START + time of these samples."""
    return Snapshot(START + time, {sample.key: sample for sample in samples}, SPECS)


def level(value: float, who: str = "a") -> Sample:
    return Sample("predis_level", value, (who,))


def hits(value: float, who: str = "a") -> Sample:
    return Sample("predis_hits_total", value, (who,))


def times(counts: tuple[int, ...], total: float, who: str = "a") -> Sample:
    return Sample("predis_time_seconds", Histogram((0.1, 1.0), counts, total), (who,))


class Scripted:
    """Answers the next requests as the script says, and all others with `usual`. Keeps what it took, in order."""

    def __init__(
        self,
        *script: Step,
        usual: Step = ACCEPT,
        temporality: Temporality = Temporality.delta,
        limits: Limits | None = None,
        lanes: Sequence[str] = ("series",),
    ) -> None:
        self.temporality = temporality
        self.script: list[Step] = list(script)
        self.usual = usual
        self.limit = limits or Limits(1000, 1 << 20, 1 << 20, oldest=1e9, newest=1e9)
        self.lane_names = lanes
        self.requests: list[Batch] = []  # every one that came, taken or not
        self.taken: list[Batch] = []
        self.encoded: dict[bytes, Batch] = {}
        self.closed = 0
        self.unencodable: set[float] = set()
        self.came = threading.Condition()

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        return () if spec.kind is Kind.info else self.lane_names

    def event_lanes(self, event: Event) -> Sequence[str]:
        return ("events",)

    def limits(self, lane: str) -> Limits:
        return self.limit

    def encode(self, batch: Batch) -> bytes:
        if self.unencodable.intersection(value for value in batch.values if isinstance(value, float)):
            raise ValueError("this value is not for me")
        rows = [
            [series.spec.name, *series.labels, repr(value)]
            for series, value in zip(batch.series, batch.values, strict=True)
        ]
        events = [event.title for event in batch.events]
        data = json.dumps([batch.lane, batch.time, rows, events]).encode()
        self.encoded[data] = batch
        return data

    def send(self, body: Body) -> Answer:
        batch = self.encoded[unpacked(body)]
        step = self.script.pop(0) if self.script else self.usual
        try:
            if isinstance(step, Exception):
                raise step
            answer = step if isinstance(step, Answer) else step(body)
            if answer.verdict is Verdict.accepted or answer.maybe_taken:
                self.taken.append(batch)
            return answer
        finally:
            with self.came:
                self.requests.append(batch)
                self.came.notify_all()

    def close(self) -> None:
        self.closed += 1

    def values(self, metric: str = "predis_level", who: str = "a") -> list[float]:
        """What it took of one series, in the order in which it came."""
        return [value for batch in self.taken for value in values_of([batch], metric, who)]


def unpacked(body: Body) -> bytes:
    """As it was before it was compressed."""
    if body.encoding == "gzip":
        return gzip.decompress(body.data)
    return zstandard.ZstdDecompressor().decompress(body.data) if body.encoding == "zstd" else body.data


def values_of(batches: Iterable[Batch], metric: str, who: str = "a") -> list[float]:
    return [
        value if isinstance(value, (int, float)) else value.sum
        for batch in batches
        for series, value in zip(batch.series, batch.values, strict=True)
        if series.spec.name == metric and series.labels == (who,)
    ]
