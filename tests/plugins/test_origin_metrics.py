"""origin_metrics probes real servers; one that is slow, away or ill is told so, and makes no other late."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from agent.api import Host, PredisError
from plugins.origin_metrics.config import OriginMetricsConfig
from plugins.origin_metrics.plugin import OriginMetrics
from tests.certificates import Authority
from tests.plugins.conftest import Collect, Values

TOKEN = "hush-hush-7"


class Handler(BaseHTTPRequestHandler):
    """/well answers at once, /held once the server's `go` is set, /NUMBER with that status."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/")
        self.server.asked.append((self.path, self.headers["Host"]))  # type: ignore[attr-defined]
        if path == "held":
            self.server.go.wait(30)  # type: ignore[attr-defined]
        self.send_response(int(path) if path.isdecimal() else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


class Shop(ThreadingHTTPServer):
    """An origin. `asked`: path and Host of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.go, self.asked = threading.Event(), list[tuple[str, str]]()
        self.port = self.server_address[1]


@contextmanager
def serving(server: Shop) -> Iterator[Shop]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serving(Shop()) as server:
        yield server


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def plugin_for(host: Host, **origins: object) -> OriginMetrics:
    plugin = OriginMetrics(OriginMetricsConfig.model_validate({"origins": origins}))
    plugin.predis_start(host)
    return plugin


def of(values: Values, origin: str) -> dict[str, float]:
    """The series of one origin that are not 0; failures by their reason."""
    found = {}
    for (name, labels), value in values.items():
        if labels[0] == origin and value:
            found["/".join([name.removeprefix("predis_origin_"), *labels[1:]])] = value
    return found  # type: ignore[return-value]


def test_an_origin_that_is_well_is_asked_as_a_client_asks_and_timed(host: Host, collect: Collect, shop: Shop) -> None:
    plugin = plugin_for(host, shop={"url": f"http://127.0.0.1:{shop.port}/well?token={TOKEN}"})
    began = time.monotonic()
    found = of(collect(plugin), "shop")
    took = time.monotonic() - began
    assert 0 < found.pop("probe_duration_seconds") <= took
    assert found == {"up": 1, "probes_total": 1}
    assert shop.asked == [(f"/well?token={TOKEN}", f"127.0.0.1:{shop.port}")]
    assert of(collect(plugin), "shop")["probes_total"] == 2
    assert plugin.note == "1 origin"


def test_a_slow_origin_is_as_slow_as_it_is_and_makes_no_other_late(host: Host, collect: Collect, shop: Shop) -> None:
    # given one origin that holds its answers back and one that does not
    plugin = plugin_for(
        host,
        held={"url": f"http://127.0.0.1:{shop.port}/held", "timeout": "20s"},
        well={"url": f"http://127.0.0.1:{shop.port}/well", "timeout": "20s"},
    )
    threading.Timer(0.4, shop.go.set).start()
    # when both are probed
    values = collect(plugin)
    plugin.predis_stop()
    # then each has its own time
    assert of(values, "held")["up"] == of(values, "well")["up"] == 1
    assert of(values, "held")["probe_duration_seconds"] >= 0.35
    assert of(values, "well")["probe_duration_seconds"] < 0.35


def test_an_origin_that_does_not_answer_in_time_costs_no_more_than_its_timeout(
    host: Host, collect: Collect, shop: Shop
) -> None:
    plugin = plugin_for(host, held={"url": f"http://127.0.0.1:{shop.port}/held", "timeout": "200ms"})
    began = time.monotonic()
    found = of(collect(plugin), "held")
    assert time.monotonic() - began < 5
    assert found.pop("probe_duration_seconds") >= 0.2
    assert found == {"probes_total": 1, "probe_failures_total/timeout": 1}
    assert plugin.note == "1 origin; not well: held: no answer within 0.2 s"


def test_an_answer_that_comes_a_byte_at_a_time_is_not_waited_for_longer(host: Host, collect: Collect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                while not ended.wait(0.05):
                    connection.sendall(b"H")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            found = of(collect(plugin_for(host, drip={"url": url, "timeout": "300ms"})), "drip")
        finally:
            ended.set()
            thread.join()
    assert found["probe_failures_total/timeout"] == 1
    assert 0.3 <= found["probe_duration_seconds"] < 3


def test_errors_are_told_by_their_kind(host: Host, collect: Collect, shop: Shop, closed_port: int) -> None:
    plugin = plugin_for(
        host,
        away={"url": f"http://127.0.0.1:{closed_port}/"},
        ill={"url": f"http://127.0.0.1:{shop.port}/503"},
        moved={"url": f"http://127.0.0.1:{shop.port}/302"},
        nameless={"url": "http://no-such-name.invalid/"},
    )
    values = collect(plugin)
    plugin.predis_stop()
    assert of(values, "away")["probe_failures_total/refused"] == 1
    assert of(values, "ill")["probe_failures_total/status"] == 1
    assert of(values, "moved")["up"] == 1
    assert of(values, "nameless")["probe_failures_total/name"] == 1
    assert "away: the connection was refused, ill: it answers with status 503" in plugin.note


def test_to_a_tcp_address_it_is_only_connected(host: Host, collect: Collect, shop: Shop, closed_port: int) -> None:
    plugin = plugin_for(
        host, open={"url": f"tcp://127.0.0.1:{shop.port}"}, closed={"url": f"tcp://127.0.0.1:{closed_port}"}
    )
    values = collect(plugin)
    plugin.predis_stop()
    assert of(values, "open")["up"] == 1
    assert of(values, "closed")["probe_failures_total/refused"] == 1
    assert shop.asked == []


def test_a_certificate_is_checked_against_the_ca(host: Host, collect: Collect, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("shop")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server = Shop()
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server):
        url = f"https://127.0.0.1:{server.port}/well"
        plugin = plugin_for(host, known={"url": url, "ca_file": str(authority.cert)}, unknown={"url": url})
        values = collect(plugin)
        plugin.predis_stop()
    assert of(values, "known")["up"] == 1
    assert of(values, "unknown")["probe_failures_total/tls"] == 1
    assert "unknown: TLS: unable to get local issuer certificate" in plugin.note


def test_a_ca_that_cannot_be_read_is_said_at_the_start(host: Host, tmp_path: Path) -> None:
    with pytest.raises(PredisError, match=r"no\.crt, ca_file of the origin shop, cannot be used: No such file"):
        plugin_for(host, shop={"url": "https://127.0.0.1/", "ca_file": str(tmp_path / "no.crt")})


def test_it_is_logged_once_when_an_origin_gets_ill_and_when_it_is_well_again(
    host: Host, collect: Collect, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = plugin_for(
        replace(host, logger=logging.getLogger("tests.origins")),
        shop={"url": f"http://127.0.0.1:{shop.port}/held?token={TOKEN}", "timeout": "500ms"},
    )
    with caplog.at_level("INFO", "tests.origins"):
        collect(plugin)
        collect(plugin)
        shop.go.set()
        collect(plugin)
    assert [record.message for record in caplog.records] == [
        "the origin shop is not well: no answer within 0.5 s",
        "the origin shop is well again",
    ]
    assert TOKEN not in caplog.text + plugin.note


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://shop/", "no origin's URL"),
        ("tcp://shop", "no origin's URL"),
        ("http:///path", "no origin's URL"),
        ("http://shop:99999/", "no origin's URL"),
        ("http://shop/a b", "no origin's URL"),
        ("http://shop/a\r\nX: y", "no origin's URL"),
        (f"http://anna:{TOKEN}@shop/", "without a password"),
    ],
)
def test_what_is_no_origin_is_refused_and_not_repeated(url: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as raised:
        OriginMetricsConfig.model_validate({"origins": {"shop": {"url": url}}})
    assert TOKEN not in str(raised.value)


def test_without_origins_nothing_is_done(host: Host, collect: Collect) -> None:
    plugin = plugin_for(host)
    assert collect(plugin) == {}
    assert plugin.note == "no origins"
