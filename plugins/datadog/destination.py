"""Datadog as a destination: which interface takes what, its limits, and one request.

The requests go through the agent's HttpSender rather than through the client's, which writes and compresses every
body anew from its models (README.md has the measurements), follows redirects, and does not tell whether a request
that failed had gone out. From the client come the addresses of the sites and the models of checks and events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.api import (
    Answer,
    Batch,
    Body,
    Event,
    HttpSender,
    Kind,
    Limits,
    MetricSpec,
    Temporality,
    Verdict,
    answer_of,
)
from plugins.datadog.encode import Encoder, encoders
from plugins.datadog.names import CHECKS, is_name

PATHS = {
    "series": "/api/v2/series",
    "distributions": "/api/v1/distribution_points",
    "checks": "/api/v1/check_run",
    "events": "/api/v1/events",
}
_RAW, _COMPRESSED = 5_242_879, 512_000
_MARGIN = 60.0  # seconds that a request may be under way
_LIMITS = {
    "series": Limits(5_000, _RAW, _COMPRESSED, 3600 - _MARGIN, 600 - _MARGIN, encodings=("gzip", "zstd", "deflate")),
    "distributions": Limits(500, _RAW, _COMPRESSED, 3600 - _MARGIN, 600 - _MARGIN, encodings=("deflate",)),
    "checks": Limits(500, _COMPRESSED, _COMPRESSED, 600 - _MARGIN, 600 - _MARGIN, encodings=()),
    "events": Limits(1, _COMPRESSED, _COMPRESSED, 18 * 3600 - _MARGIN, 600 - _MARGIN, encodings=()),
}
"""The publisher's, with a margin in time: https://docs.datadoghq.com/api/latest/metrics/ and …/events/."""

_ENCODINGS = {"zstd": "zstd1"}  # Datadog's name for it


class DatadogDestination:
    """Sends to `url` with `api_key`, which stands in one header and nowhere else."""

    temporality = Temporality.delta

    def __init__(self, url: str, api_key: str, encoder: Encoder, timeout: float, ca_file: Path | None) -> None:
        self._url, self._key = url.rstrip("/"), api_key
        self._encode = encoders(encoder)
        self._http = HttpSender(timeout, ca_file, secrets=(api_key,), answer=judge)

    def __repr__(self) -> str:
        return f"DatadogDestination({self._url!r})"

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        if not is_name(f"{spec.name}_count" if spec.kind is Kind.histogram else spec.name):
            return ()
        if spec.kind is Kind.histogram:
            return ("distributions", "series")
        return ("series", "checks") if spec.name in CHECKS else ("series",)

    def event_lanes(self, event: Event) -> Sequence[str]:
        return ("events",) if event.duration is None else ()

    def limits(self, lane: str) -> Limits:
        return _LIMITS[lane]

    def encode(self, batch: Batch) -> bytes:
        return self._encode[batch.lane](batch)

    def send(self, body: Body) -> Answer:
        headers = {"DD-API-KEY": self._key, "Content-Type": "application/json", "Accept": "application/json"}
        if body.encoding:
            headers["Content-Encoding"] = _ENCODINGS.get(body.encoding, body.encoding)
        return self._http.post(self._url + PATHS[body.lane], body.data, headers)

    def close(self) -> None:
        self._http.close()


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What Datadog's answer means. Its rate limits say in headers of their own when to come again."""
    answer = answer_of(status, headers, body)
    if answer.verdict is Verdict.accepted:
        complaints = _complaints(body)
        return replace(answer, reason="partial", detail=complaints) if complaints else answer
    if status == 429 and answer.retry_after is None:
        return replace(answer, retry_after=_reset(headers))
    if status in (401, 403):
        mend = "is api_key an API key (not an application key) of an organisation on this site?"
        return replace(answer, detail=f"{answer.detail}; {mend}")
    return answer


def _complaints(body: bytes) -> str:
    """What an answer with success complains of all the same."""
    try:
        errors = json.loads(body).get("errors")
    except (ValueError, AttributeError):
        return ""
    return "; ".join(map(str, errors))[:300] if isinstance(errors, list) else ""


def _reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limit counts anew: X-RateLimit-Reset, or at worst a whole X-RateLimit-Period."""
    lower = {name.lower(): value for name, value in headers.items()}
    for name in ("x-ratelimit-reset", "x-ratelimit-period"):
        value = lower.get(name, "").strip()
        if value.isascii() and value.isdigit() and len(value) < 8:
            return float(value)
    return None
