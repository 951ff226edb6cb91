"""The files of a new exporter: it posts points as JSON over HTTP, to be replaced by a vendor's format."""

from __future__ import annotations

from agent.scaffold.heads import README_HEAD

SUMMARY = "An exporter for Predis Agent: points as JSON over HTTP."

PLUGIN = '''\
"""Posts points as JSON. Replace `encode` by the vendor's format; queue, batches, retries and spool are the host's."""

from __future__ import annotations

import json
from collections.abc import Sequence

from agent.api import (
    Answer,
    Batch,
    Body,
    Event,
    ExportConfig,
    Histogram,
    Host,
    HttpSender,
    Kind,
    Limits,
    MetricSpec,
    Temporality,
    hookimpl,
)
from pydantic import Field, SecretStr

# What one request may hold; the vendor's documentation says it.
LIMITS = Limits(points=1000, raw_bytes=4 << 20, compressed_bytes=1 << 20, oldest=3600.0)


class @cls@Config(ExportConfig):
    """`[plugins.@plugin@]`"""

    endpoint: str = Field(default="http://127.0.0.1:8080/points", description="where points are posted")
    token: SecretStr = Field(default=SecretStr(""), description="sent as Authorization: Bearer; empty for none")


class @cls@Destination:
    """The vendor's half: what it takes, how that is written, and one request."""

    temporality = Temporality.cumulative

    def __init__(self, config: @cls@Config) -> None:
        token = config.token.get_secret_value()
        self._endpoint = config.endpoint
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._sender = HttpSender(config.timeout, config.ca_file, secrets=[token])

    def lanes(self, spec: MetricSpec) -> Sequence[str]:
        return () if spec.kind is Kind.info else ("points",)

    def event_lanes(self, event: Event) -> Sequence[str]:
        return ()  # events are not exported

    def limits(self, lane: str) -> Limits:
        return LIMITS

    def encode(self, batch: Batch) -> bytes:
        points = [
            {
                "name": series.spec.name,
                "tags": series.tags(),
                "time": batch.time,
                "since": start,
                "value": _written(value),
            }
            for series, value, start in zip(batch.series, batch.values, batch.starts, strict=True)
        ]
        return json.dumps({"points": points}).encode()

    def send(self, body: Body) -> Answer:
        headers = dict(self._headers)
        if body.encoding:
            headers["Content-Encoding"] = body.encoding
        return self._sender.post(self._endpoint, body.data, headers)

    def close(self) -> None:
        self._sender.close()


class @cls@:
    """The host makes one from the table, and a new one whenever that changes."""

    api_version = 1
    Config = @cls@Config

    def __init__(self, config: @cls@Config) -> None:
        # Cheap, and without I/O: `predis-agent plugins list` constructs it, too.
        self._config = config
        self.note = config.endpoint

    @hookimpl
    def predis_start(self, host: Host) -> None:
        host.logger.info("points go to %s", self._config.endpoint)

    @hookimpl
    def predis_destination(self) -> @cls@Destination:
        return @cls@Destination(self._config)


def _written(value: float | Histogram) -> object:
    if isinstance(value, Histogram):
        return {"bounds": value.bounds, "counts": value.counts, "sum": value.sum}
    return value
'''

SAMPLE = """\
[plugins.@plugin@]
enabled = true
# How often it exports; empty for agent.interval. A run that takes longer than the deadline counts as failed.
interval = ""
deadline = "5s"
# More series than this are dropped and counted.
max_series = 2000
# Where points are posted, with which CAs (a file in PEM form; empty for the system's), and how long that may take.
endpoint = "http://127.0.0.1:8080/points"
ca_file = ""
timeout = "10s"
compression = "gzip"
# Shell patterns of metrics.
metrics = ["*"]
exclude = []
# Points that wait in memory at most, bytes on the disk, and how old points there may get; empty for what is accepted.
queue = 100000
spool = "64MiB"
spool_age = ""
# Sent as "Authorization: Bearer TOKEN"; empty for none. Better "${file:PATH}" or "${env:NAME}" than the token itself.
token = ""
"""

README = (
    README_HEAD
    + """\

A request is `{"points": [{"name", "tags", "time", "since", "value"}]}`; times are Unix seconds, counters and histograms
count since `since`, and a histogram is `{"bounds", "counts", "sum"}`.

## Troubleshooting

`predis-agent status` shows what is queued, spooled and dropped, and what the endpoint answered last.
"""
)

TESTS = '''\
"""@cls@ writes points as its README says, and sends them with its token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from agent.api import Batch, Body, Histogram, Kind, MetricSpec, Series, Verdict
from pydantic import SecretStr

from @module@.plugin import @cls@, @cls@Config, @cls@Destination

LEVEL = Series(MetricSpec("predis_level", Kind.gauge, "A level.", labels=("who",)), ("a",))
TIMES = Series(MetricSpec("predis_time_seconds", Kind.histogram, "Times.", "seconds"), ())


class Server(HTTPServer):
    """Keeps what it is sent, and answers as it is told."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def destination(server: Server) -> @cls@Destination:
    endpoint = f"http://127.0.0.1:{server.server_port}/points"
    return @cls@(@cls@Config(endpoint=endpoint, token=SecretStr("t0ken"))).predis_destination()


def test_points_arrive_as_the_readme_says(server: Server) -> None:
    to = destination(server)
    histogram = Histogram((0.1,), (1, 2), 0.5)
    data = to.encode(Batch("points", 100.0, series=[LEVEL, TIMES], values=[2.5, histogram], starts=[40.0, 40.0]))
    assert to.send(Body("points", data, "")).verdict is Verdict.accepted
    to.close()
    ((headers, body),) = server.received
    assert headers["Authorization"] == "Bearer t0ken"
    assert json.loads(body)["points"] == [
        {"name": "predis_level", "tags": {"who": "a"}, "time": 100.0, "since": 40.0, "value": 2.5},
        {
            "name": "predis_time_seconds",
            "tags": {},
            "time": 100.0,
            "since": 40.0,
            "value": {"bounds": [0.1], "counts": [1, 2], "sum": 0.5},
        },
    ]


@pytest.mark.parametrize(
    ("status", "verdict"), [(503, Verdict.retry), (413, Verdict.too_large), (403, Verdict.refused)]
)
def test_what_an_answer_means_is_the_hosts_to_act_on(server: Server, status: int, verdict: Verdict) -> None:
    server.status = status
    to = destination(server)
    assert to.send(Body("points", b"{}", "")).verdict is verdict
    to.close()
'''
