"""An OTLP receiver as a destination: https://opentelemetry.io/docs/specs/otlp/#otlphttp"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from agent.api import Answer, Batch, Body, Event, HttpSender, Limits, MetricSpec, Temporality, Verdict, answer_of
from plugins.otlp.events import records_of, spans_of
from plugins.otlp.metrics import MetricsEncoder, attributes_of

METRICS, TRACES, LOGS = "metrics", "traces", "logs"
# OTLP has no limits of its own; receivers of every make take requests of this size, and points of the last week.
LIMITS = Limits(
    points=10_000, raw_bytes=4 << 20, compressed_bytes=4 << 20, oldest=7 * 86_400.0, newest=3600.0, encodings=("gzip",)
)
_PROTOBUF = "application/x-protobuf"
_FINAL = dict.fromkeys((408, 425, *(set(range(500, 600)) - {502, 503, 504})), Verdict.refused)
"""OTLP retries 429, 502, 503 and 504; "all other 4xx or 5xx response status codes MUST NOT be retried"."""
_LONGEST = 300  # characters of a message


def answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What became of a request: a receiver may have taken a part of it, and says why it did not take the rest."""
    usual = answer_of(status, headers, body, verdicts=_FINAL)
    kind = next((value for name, value in headers.items() if name.lower() == "content-type"), "")
    if not kind.startswith(_PROTOBUF) or not body:
        return usual
    try:
        if usual.verdict is not Verdict.accepted:
            # A google.rpc.Status: its code and message are fields 1 and 2, as they are of a partial success.
            said = _short(ExportMetricsPartialSuccess.FromString(body).error_message)
            return replace(usual, detail=f"HTTP status {status}: {said}") if said else usual
        # The responses of all three kinds are the same on the wire.
        part = ExportMetricsServiceResponse.FromString(body).partial_success
    except DecodeError:
        return usual
    said, rejected = _short(part.error_message), max(0, part.rejected_data_points)
    return replace(usual, rejected=rejected, reason="partial_success" if rejected else "", detail=said)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class OtlpDestination:
    """Sends metrics, spans and log records to the three paths below `endpoint`."""

    temporality = Temporality.cumulative

    def __init__(
        self,
        endpoint: str,
        headers: Mapping[str, str],
        resource: Mapping[str, str],
        version: str,
        *,
        semconv: bool,
        timeout: float,
        ca_file: Path | None,
    ) -> None:
        self._urls = {lane: f"{endpoint.rstrip('/')}/v1/{lane}" for lane in (METRICS, TRACES, LOGS)}
        self._headers = {"User-Agent": f"predis-agent/{version}", **headers, "Content-Type": _PROTOBUF}
        self._resource = Resource(attributes=attributes_of(dict(resource)))
        self._scope = InstrumentationScope(name="predis-agent", version=version)
        self._metrics = MetricsEncoder(self._resource, self._scope, semconv)
        self._sender = HttpSender(timeout, ca_file, secrets=headers.values(), answer=answer)

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        return (METRICS,)

    def event_lanes(self, event: Event) -> Sequence[str]:
        return (LOGS,) if event.duration is None else (TRACES,)

    def limits(self, lane: str) -> Limits:
        return LIMITS

    def encode(self, batch: Batch) -> bytes:
        if batch.lane == METRICS:
            return self._metrics.encode(batch)
        write = spans_of if batch.lane == TRACES else records_of
        return write(batch.events, self._resource, self._scope)

    def send(self, body: Body) -> Answer:
        headers = {**self._headers, "Content-Encoding": body.encoding} if body.encoding else self._headers
        return self._sender.post(self._urls[body.lane], body.data, headers)

    def close(self) -> None:
        self._sender.close()
