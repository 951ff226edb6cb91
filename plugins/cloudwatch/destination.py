"""CloudWatch as a destination: what it takes, and one signed request at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.api import Answer, Batch, Body, Event, HttpSender, Kind, Limits, MetricSpec, Temporality, Verdict
from plugins.cloudwatch.answers import answer
from plugins.cloudwatch.encode import Encoder
from plugins.cloudwatch.values import LARGEST

LANE = "metrics"
# "1 MB" may be meant either way, and of the body before or after it is compressed.
LIMITS = Limits(
    points=1000,
    raw_bytes=1_000_000,
    compressed_bytes=1_000_000,
    oldest=14 * 86_400.0 - 60,
    newest=2 * 3600.0 - 60,
    largest=LARGEST,
    encodings=("gzip",),
)
HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData",
    "X-Amzn-Query-Mode": "true",  # errors have the codes that all the protocols share, too
}
NO_CREDENTIALS = (
    "no AWS credentials: give the agent AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine a role"
)
NOT_PASSED = (
    "a process of its own does not get the agent's secrets: if they are in its environment, write pass_environment = "
    '["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] into [plugins.cloudwatch]'
)


class CloudWatchDestination:
    """Sends to one URL in one region. `session` is boto3's, asked for credentials each time, since they expire.

    `no_credentials` is what to do where there are none.
    """

    temporality = Temporality.delta

    def __init__(
        self,
        session: Any,
        url: str,
        region: str,
        encoder: Encoder,
        timeout: float,
        ca_file: Path | None,
        agent: str,
        no_credentials: str = "",
    ) -> None:
        self._session, self._url, self._region, self._encoder = session, url, region, encoder
        self._headers = {**HEADERS, "User-Agent": agent}
        self._mend = f"; {no_credentials}" if no_credentials else ""
        self._sender = HttpSender(timeout, ca_file, answer=answer)

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        """An info metric, which is always 1, would be paid for and tell nothing."""
        return (LANE,) if spec.kind is not Kind.info and self._encoder.fits(spec) else ()

    def event_lanes(self, event: Event) -> Sequence[str]:
        return ()

    def limits(self, lane: str) -> Limits:
        return LIMITS

    def encode(self, batch: Batch) -> bytes:
        return self._encoder.encode(batch)

    def send(self, body: Body) -> Answer:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        headers = dict(self._headers)
        if body.encoding:
            headers["Content-Encoding"] = body.encoding
        try:
            credentials = self._session.get_credentials()
            if credentials is None:
                return Answer(Verdict.retry, "no_credentials", f"{NO_CREDENTIALS}{self._mend}")
            frozen = credentials.get_frozen_credentials()
            request = AWSRequest("POST", self._url, headers, body.data)
            SigV4Auth(frozen, "monitoring", self._region).add_auth(request)
        except BotoCoreError as error:
            return Answer(Verdict.retry, "no_credentials", f"no AWS credentials can be had: {error}{self._mend}")
        return self._sender.post(self._url, body.data, dict(request.headers.items()))

    def close(self) -> None:
        self._sender.close()
