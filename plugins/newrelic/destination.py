"""New Relic as a destination: which interface takes what, its limits, and one request.

The requests go through the agent's HttpSender: the SDK's clients write and compress every body anew from its classes
(README.md has the measurements), and do not tell whether a request that failed had gone out. From the SDK come the
addresses and paths, and the classes of events and spans.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from agent.api import Answer, Batch, Body, Event, HttpSender, Kind, Limits, MetricSpec, Temporality, answer_of
from plugins.newrelic.attributes import LONGEST_NAME, MOST_OF_METRIC
from plugins.newrelic.encode import Encoder, encoders

_LARGEST = 1_000_000
_DAY = 86_400.0
_MARGIN = 600.0  # seconds that a request may be under way, and that a count began before its time
LIMITS = {
    "metrics": Limits(5_000, _LARGEST, _LARGEST, 2 * _DAY - _MARGIN, _DAY - _MARGIN, encodings=("gzip",)),
    "events": Limits(1_000, _LARGEST, _LARGEST, _DAY - _MARGIN, _DAY - _MARGIN, encodings=("gzip",)),
    "traces": Limits(1_000, _LARGEST, _LARGEST, 2 * _DAY - _MARGIN, _DAY - _MARGIN, encodings=("gzip",)),
}
"""The publisher's, with a margin in time: 10⁶ bytes for a POST, counted here before they are compressed."""

_MENDS = {
    401: "is license_key a licence key (ingest) of an account in this region?",
    403: "is license_key a licence key (ingest) of an account in this region?",
    404: "is endpoint, region or account_id right?",
}
_TRACE_HEADERS = {"Data-Format": "newrelic", "Data-Format-Version": "1"}


class NewRelicDestination:
    """Sends to the URL of each lane with `license_key`, which stands in one header and nowhere else."""

    temporality = Temporality.delta

    def __init__(
        self, urls: Mapping[str, str], license_key: str, encoder: Encoder, timeout: float, ca_file: Path | None
    ) -> None:
        self._urls, self._key = urls, license_key
        self._encode = encoders(encoder)
        self._common = encoder.common
        self._http = HttpSender(timeout, ca_file, secrets=(license_key,), answer=judge)

    def __repr__(self) -> str:
        return f"NewRelicDestination({', '.join(sorted(self._urls.values()))})"

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        longest = LONGEST_NAME - (len("_bucket") if spec.kind is Kind.histogram else 0)
        fits = len(spec.name) <= longest and len(spec.labels) + 1 + self._common <= MOST_OF_METRIC
        return ("metrics",) if fits else ()

    def event_lanes(self, event: Event) -> Sequence[str]:
        lane = "events" if event.duration is None else "traces"
        return (lane,) if lane in self._urls else ()

    def limits(self, lane: str) -> Limits:
        return LIMITS[lane]

    def encode(self, batch: Batch) -> bytes:
        return self._encode[batch.lane](batch)

    def send(self, body: Body) -> Answer:
        headers = {
            "Api-Key": self._key,
            "Content-Type": "application/json",
            # The same for the same body: sent again since no answer came, it can be told from a new one.
            "x-request-id": str(uuid.UUID(bytes=blake2b(body.data, digest_size=16).digest())),
            **(_TRACE_HEADERS if body.lane == "traces" else {}),
            **({"Content-Encoding": body.encoding} if body.encoding else {}),
        }
        return self._http.post(self._urls[body.lane], body.data, headers)

    def close(self) -> None:
        self._http.close()


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What New Relic's answer means; that it is accepted means queued, not valid."""
    answer = answer_of(status, headers, body)
    mend = _MENDS.get(status)
    return replace(answer, detail=f"{answer.detail}; {mend}") if mend else answer
