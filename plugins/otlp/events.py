"""Events as OTLP's requests: those that last as spans, the others as log records."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import (
    SEVERITY_NUMBER_ERROR,
    SEVERITY_NUMBER_INFO,
    SEVERITY_NUMBER_WARN,
    LogRecord,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from agent.api import Event
from plugins.otlp.metrics import attributes_of

_SEVERITIES = {"info": SEVERITY_NUMBER_INFO, "warning": SEVERITY_NUMBER_WARN, "error": SEVERITY_NUMBER_ERROR}


def spans_of(events: Iterable[Event], resource: Resource, scope: InstrumentationScope) -> bytes:
    """An ExportTraceServiceRequest; an event that names no trace or span gets ids that are the same each time."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add(resource=resource).scope_spans.add(scope=scope).spans
    for event in events:
        failed = event.severity == "error"
        spans.add(
            trace_id=_id(event.trace_id, 16) or _made_up(event, 16),
            span_id=_id(event.span_id, 8) or _made_up(event, 8),
            parent_span_id=_id(event.parent_id, 8),
            name=event.kind,
            kind=Span.SPAN_KIND_INTERNAL,
            start_time_unix_nano=_nanoseconds(event.time),
            end_time_unix_nano=_nanoseconds(event.time) + _nanoseconds(event.duration or 0.0),
            attributes=attributes_of(_said(event)),
            status=Status(code=Status.STATUS_CODE_ERROR, message=event.title) if failed else None,
        )
    return bytes(request.SerializeToString())


def records_of(events: Iterable[Event], resource: Resource, scope: InstrumentationScope) -> bytes:
    """An ExportLogsServiceRequest."""
    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add(resource=resource).scope_logs.add(scope=scope)
    for event in events:
        record = LogRecord(
            time_unix_nano=_nanoseconds(event.time),
            observed_time_unix_nano=_nanoseconds(event.time),
            severity_number=_SEVERITIES[event.severity],
            severity_text=event.severity,
            body=AnyValue(string_value=event.title),
            attributes=attributes_of({"event.name": event.kind, **_said(event)}),
            trace_id=_id(event.trace_id, 16),
            span_id=_id(event.span_id, 8),
        )
        logs.log_records.append(record)
    return bytes(request.SerializeToString())


def _said(event: Event) -> dict[str, str]:
    texts = {"predis.event.title": event.title, "predis.event.text": event.text}
    return {**{key: text for key, text in texts.items() if text}, **event.attributes}


def _id(text: str, size: int) -> bytes:
    """An id from its hexadecimal digits; none if it is none: zeros are not allowed."""
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * size}}}", text):
        return b""
    found = bytes.fromhex(text)
    return found if any(found) else b""


def _made_up(event: Event, size: int) -> bytes:
    return hashlib.sha256(f"{size} {event.time!r} {event.kind} {event.title}".encode()).digest()[:size]


def _nanoseconds(time: float) -> int:
    return max(0, round(time * 1e9))
