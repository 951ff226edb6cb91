"""What a pipe says of itself: its entry in the status document, whether it delivers, and its metrics.

All of it reads single values, so that nobody waits for a disk or a vendor to be told that it hangs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from agent.export.courier import DURATIONS
from agent.export.pipe import ExportPipe
from agent.export.retry import Circuit
from agent.metrics.model import Kind, MetricSpec, Sample

_EXPORTER = ("exporter",)
OUTCOMES = ("produced", "delivered", "dropped")

SPECS = (
    MetricSpec(
        "predis_export_points_total",
        Kind.counter,
        "Points (and events) of an exporter that were produced, delivered and dropped; what is missing, waits.",
        "",
        ("exporter", "outcome"),
    ),
    MetricSpec(
        "predis_export_dropped_points_total",
        Kind.counter,
        "Points that an exporter gave up, by why; docs/exporters.md explains the reasons.",
        "",
        ("exporter", "reason"),
    ),
    MetricSpec(
        "predis_export_possible_duplicates_total",
        Kind.counter,
        "Points that were sent again though the vendor may have taken them the first time.",
        "",
        _EXPORTER,
    ),
    MetricSpec("predis_export_queue_points", Kind.gauge, "Points that wait in memory.", "", _EXPORTER),
    MetricSpec("predis_export_spool_points", Kind.gauge, "Points that wait on the disk.", "", _EXPORTER),
    MetricSpec("predis_export_spool_bytes", Kind.gauge, "Disk that an exporter's spool takes.", "bytes", _EXPORTER),
    MetricSpec(
        "predis_export_spool_corrupt_total", Kind.counter, "Parts of a spool that could not be read.", "", _EXPORTER
    ),
    MetricSpec(
        "predis_export_lag_seconds", Kind.gauge, "Age of the oldest point that is not delivered.", "seconds", _EXPORTER
    ),
    MetricSpec(
        "predis_export_requests_total",
        Kind.counter,
        "Requests to a vendor, by what became of them.",
        "",
        ("exporter", "verdict"),
    ),
    MetricSpec(
        "predis_export_request_duration_seconds",
        Kind.histogram,
        "How long requests to a vendor took.",
        "seconds",
        _EXPORTER,
        DURATIONS,
    ),
    MetricSpec(
        "predis_export_circuit_open",
        Kind.gauge,
        "1 while so many requests in a row failed that only one at a time finds out whether the vendor is back.",
        "",
        _EXPORTER,
    ),
    MetricSpec(
        "predis_export_unsupported_series", Kind.gauge, "Series that the vendor has no interface for.", "", _EXPORTER
    ),
)


def status(pipe: ExportPipe) -> dict[str, Any]:
    """For the status document. Times are Unix seconds, durations and ages seconds; points include events."""
    books, age = pipe.account.books(), pipe.lanes.age
    return {
        "produced": books.produced,
        "delivered": books.delivered,
        "queued": books.queued,
        "spooled": books.spooled,
        "dropped": dict(books.dropped),
        "possible_duplicates": books.possible_duplicates,
        "unsupported_series": pipe.unsupported,
        "lag_seconds": _rounded(pipe.lag),
        "spool_bytes": pipe.lanes.size,
        "spool_age_seconds": _rounded(age),
        "spool_corrupt": pipe.lanes.corrupt,
        "circuit": str(pipe.retry.circuit),
        "failures_in_a_row": pipe.retry.failures,
        "retry_in": _rounded(pipe.retry.wait) if pipe.retry.failures else None,
        "failing_lanes": pipe.lanes.failing,
        "hung_for": _rounded(pipe.courier.hanging),
        "requests": dict(pipe.courier.requests),
        "last_success": pipe.last_success,
        "last_error": pipe.last_error,
        "last_error_time": pipe.last_error_time,
    }


def late(pipe: ExportPipe, patience: float) -> str | None:
    """Why it counts as not delivering, in a sentence; None when it delivers, or has nothing to.

    It delivers when the vendor has taken something in the last `patience` seconds; that it was offered, or spooled, is
    not enough.
    """
    hung = pipe.courier.hanging
    if hung is not None:
        return f"exporter {pipe.name}: a request has hung for {hung:.0f} s"
    offered, since = pipe.offered_at, pipe.waits_since
    if offered is None or since is None or offered < since:
        return None
    silent = time.monotonic() - since
    if silent <= patience:
        return None
    because = f": {pipe.last_error}" if pipe.last_error else ""
    return f"exporter {pipe.name} has delivered nothing for {silent:.0f} s{because}"


def collect(pipe: ExportPipe) -> Iterator[Sample]:
    """The samples of SPECS."""
    books, own = pipe.account.books(), (pipe.name,)
    dropped = sum(books.dropped.values())
    for outcome, points in zip(OUTCOMES, (books.produced, books.delivered, dropped), strict=True):
        yield Sample("predis_export_points_total", points, (*own, outcome))
    for reason, points in books.dropped.items():
        yield Sample("predis_export_dropped_points_total", points, (*own, reason))
    yield Sample("predis_export_possible_duplicates_total", books.possible_duplicates, own)
    yield Sample("predis_export_queue_points", books.queued, own)
    yield Sample("predis_export_spool_points", books.spooled, own)
    yield Sample("predis_export_spool_bytes", pipe.lanes.size, own)
    yield Sample("predis_export_spool_corrupt_total", pipe.lanes.corrupt, own)
    yield Sample("predis_export_lag_seconds", pipe.lag or 0.0, own)
    for verdict, count in dict(pipe.courier.requests).items():
        yield Sample("predis_export_requests_total", count, (*own, verdict))
    yield Sample("predis_export_request_duration_seconds", pipe.courier.durations, own)
    yield Sample("predis_export_circuit_open", int(pipe.retry.circuit is not Circuit.closed), own)
    yield Sample("predis_export_unsupported_series", pipe.unsupported, own)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
