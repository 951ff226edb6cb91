"""The HTTP server as its callers see it: health, documents, who may ask, and what happens when the port is taken."""

import contextlib
import dataclasses
import json
import math
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.config.load import LoadedConfig, load_config
from agent.errors import PredisError
from agent.http.auth import host_name, load_token
from agent.http.incident_page import incident_page
from agent.http.server import HttpServer
from agent.http.site import HttpSite
from agent.incidents.document import incident_document, summary
from agent.incidents.model import Anomaly, Cause, Incident
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample, Snapshot
from tests.servers import free_port
from tests.waiting import wait_until

LATENCY = MetricSpec("predis_test_seconds", Kind.histogram, "How long.", "seconds", ("command",))
LOAD = MetricSpec("predis_test_load", Kind.gauge, "How much.")


ANOMALY = Anomaly(
    ("predis_test_load", ()), (), 1700000000.0, 1700000060.0, "deviation", 9.0, -math.inf, 3.0, 0.99, 1e-9,
    tuple((1700000000.0 + 10 * turn, float(turn)) for turn in range(-10, 7)),
)  # fmt: skip
INCIDENT = Incident(
    "i1", 1700000000.0, "load <is> off, says hunter2", (ANOMALY,), (Cause("origin", 2.0, "it is <slow>"),),
    attributes={"series": "1", "components": "test"},
)  # fmt: skip
EVIDENCE = {
    "series": 'queue{shop="<b>"}',
    "unit": "jobs/s",
    "history": [(1700000000.0 + turn, math.inf if turn == 1 else 2.0 * turn) for turn in range(4)],
}


class View:
    """An agent as the HTTP server knows it."""

    def __init__(self) -> None:
        self.live_reasons: list[str] = []
        self.ready_reasons: list[str] = []
        self.samples: list[Sample] = []
        self.mistake: str | None = None

    def plan_config(self) -> list[str]:
        if self.mistake is not None:
            raise PredisError(self.mistake)
        return ["cache.memory: 1GiB → 2GiB (agent.toml:3)"]

    def apply_config(self) -> int:
        return 4

    def diagnostics(self) -> dict[str, Any]:
        return {"log": ["the password is hunter2"], "threads": {}}

    def scrub(self, text: str) -> str:
        return text.replace("hunter2", "***")

    def not_live(self) -> list[str]:
        return list(self.live_reasons)

    def not_ready(self) -> list[str]:
        return list(self.ready_reasons)

    def status(self) -> dict[str, Any]:
        return {"agent": {"pid": 17}}

    def snapshot(self) -> Snapshot:
        specs = {spec.name: spec for spec in (LATENCY, LOAD)}
        return Snapshot(1700000000.0, {sample.key: sample for sample in self.samples}, specs)

    def rules(self) -> dict[str, Any]:
        return {"rules": []}

    def rule(self, name: str) -> dict[str, Any]:
        raise PredisError(f"there is no rule {name}")

    def command_rules(self, what: str, name: str, who: str) -> dict[str, Any]:
        return {"done": what, "name": name, "who": who}

    def incidents(self) -> list[dict[str, Any]]:
        return [summary(INCIDENT)]

    def incident(self, identifier: str) -> dict[str, Any] | None:
        return incident_document(INCIDENT, lambda cause, incident: [EVIDENCE]) if identifier == INCIDENT.id else None

    def history(self, query: Iterable[tuple[str, str]]) -> dict[str, Any]:
        asked = dict(query)
        if "metric" not in asked:
            raise PredisError("which metric?")
        return {"metric": asked["metric"], "series": [], "asked": asked}


def configuration(tmp_path: Path, port: int, host: str = "127.0.0.1") -> LoadedConfig:
    return load_config(None, [f"agent.data_dir={tmp_path}", f"http.port={port}", f"http.host={host}"], {})


@contextmanager
def serving(loaded: LoadedConfig, view: View | None = None) -> Iterator[tuple[HttpSite, httpx.Client]]:
    site = HttpSite(loaded)
    _, port = site.address
    site.serve(view or View())
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
            yield site, client
    finally:
        site.stop()


@pytest.fixture
def view() -> View:
    return View()


@pytest.fixture
def client(tmp_path: Path, view: View) -> Iterator[httpx.Client]:
    with serving(configuration(tmp_path, 0), view) as (_, client):
        yield client


def test_the_index_names_every_path_and_each_answers(client: httpx.Client) -> None:
    answer = client.get("/")

    assert answer.status_code == 200
    assert answer.json()["service"] == "predis-agent"
    for path in answer.json()["paths"]:
        assert client.get(path).status_code == 200, path


def test_health_is_200_while_all_is_well(client: httpx.Client) -> None:
    assert (client.get("/livez").status_code, client.get("/livez").json()) == (200, {"live": True, "reasons": []})
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (200, {"ready": True, "reasons": []})


def test_an_agent_that_is_not_ready_says_why_and_is_still_live(client: httpx.Client, view: View) -> None:
    view.ready_reasons = ["the cache has not answered lately", "plugin x has delivered nothing for 60 s"]

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": view.ready_reasons}
    assert client.get("/livez").status_code == 200


def test_an_agent_that_is_not_live_is_not_ready_either(client: httpx.Client, view: View) -> None:
    view.live_reasons = ["the scheduler has made no progress for 30 s"]

    assert client.get("/livez").json() == {"live": False, "reasons": view.live_reasons}
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 503


def test_health_is_never_answered_from_a_cache(client: httpx.Client) -> None:
    assert client.get("/readyz").headers["cache-control"] == "no-store"


def test_the_status_document_is_the_agents(client: httpx.Client) -> None:
    assert client.get("/api/v1/status").json() == {"agent": {"pid": 17}}


def test_metrics_are_json_with_labels_histograms_and_what_json_cannot_write(client: httpx.Client, view: View) -> None:
    histogram = Histogram((0.1, 1.0), (3, 2, 1), 4.5)
    view.samples = [Sample(LATENCY.name, histogram, ("get",)), Sample(LOAD.name, float("inf"))]

    document = json.loads(client.get("/api/v1/metrics").text, parse_constant=lambda name: pytest.fail(name))

    assert document["time"] == 1700000000.0
    load, latency = document["metrics"]
    assert (load["name"], load["kind"], load["samples"]) == (LOAD.name, "gauge", [{"labels": {}, "value": "+Inf"}])
    assert (latency["unit"], latency["help"]) == ("seconds", "How long.")
    value = {"bounds": [0.1, 1.0], "counts": [3, 2, 1], "sum": 4.5, "count": 6}
    assert latency["samples"] == [{"labels": {"command": "get"}, "value": value}]


def test_the_plan_of_a_configuration_is_told_or_what_is_wrong_with_it(
    client: httpx.Client, view: View, tmp_path: Path
) -> None:
    assert client.get("/api/v1/config/plan").status_code == 401
    token = {"Authorization": f"Bearer {load_token(tmp_path / 'http.token')}"}
    answer = client.get("/api/v1/config/plan", headers=token)
    assert (answer.status_code, answer.json()) == (200, {"changes": view.plan_config()})

    view.mistake = "agent.toml:3: cache.memory: is no size"
    answer = client.get("/api/v1/config/plan", headers=token)
    assert (answer.status_code, answer.json()) == (409, {"error": view.mistake})


def test_a_configuration_is_applied_for_who_has_the_token_only(client: httpx.Client, tmp_path: Path) -> None:
    assert client.post("/api/v1/config/apply").status_code == 401
    assert client.get("/api/v1/config/apply").status_code == 405

    token = {"Authorization": f"Bearer {load_token(tmp_path / 'http.token')}"}
    answer = client.post("/api/v1/config/apply", headers=token)
    assert (answer.status_code, answer.json()) == (202, {"reloads": 4})


def test_diagnostics_need_the_token_and_what_is_answered_is_scrubbed(client: httpx.Client, tmp_path: Path) -> None:
    assert client.get("/api/v1/diagnostics").status_code == 401

    token = {"Authorization": f"Bearer {load_token(tmp_path / 'http.token')}"}
    assert client.get("/api/v1/diagnostics", headers=token).json()["log"] == ["the password is ***"]


def test_an_unknown_path_and_a_wrong_method_are_refused(client: httpx.Client) -> None:
    assert client.get("/api/v2/status").status_code == 404
    assert client.post("/api/v1/status").status_code == 405


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8889", "[::1]:8889", "LOCALHOST:1"])
def test_names_of_this_machine_are_served(client: httpx.Client, host: str) -> None:
    assert client.get("/api/v1/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8889", "127.0.0.1.evil.example", "localhost.evil", ""])
def test_a_rebound_name_is_refused_everywhere(client: httpx.Client, host: str) -> None:
    for path in ("/", "/livez", "/readyz", "/api/v1/status", "/api/v1/metrics"):
        assert client.get(path, headers={"Host": host}).status_code in (400, 421), path


@pytest.mark.parametrize(
    ("header", "name"),
    [("a.example:80", "a.example"), ("a.example", "a.example"), ("[::1]:80", "::1"), ("[::1]", "::1"), ("::1", "::1")],
)
def test_the_host_in_a_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_beyond_loopback_the_token_is_needed_and_health_tells_no_details(tmp_path: Path, view: View) -> None:
    view.ready_reasons = ["plugin billing has delivered nothing yet"]
    with serving(configuration(tmp_path, 0, "0.0.0.0"), view) as (_, client):
        token = (tmp_path / "http.token").read_text().strip()

        refused = client.get("/api/v1/status")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        for wrong in ("Bearer", f"Bearer {token}x", f"Basic {token}", token, "Bearer pässword"):
            given = {"Authorization": wrong.encode("latin-1")}
            assert client.get("/api/v1/metrics", headers=given).status_code == 401, wrong
        allowed = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/v1/status", headers=allowed).status_code == 200
        assert client.get("/readyz", headers=allowed).json()["reasons"] == view.ready_reasons
        anonymous = client.get("/readyz")
        assert (anonymous.status_code, anonymous.json()) == (503, {"ready": False})


def test_the_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "http.token"

    first = load_token(path)

    assert len(first) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_token(path) == first


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe" * 20])
def test_an_unusable_token_is_refused_in_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "http.token"
    path.write_bytes(content)

    with pytest.raises(PredisError, match=r"http\.token.*remove it"):
        load_token(path)


def test_a_port_in_use_is_one_sentence_with_host_port_and_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PredisError) as refused:
            HttpSite(configuration(tmp_path, port))

    sentence = str(refused.value)
    assert "\n" not in sentence
    for part in ("127.0.0.1", str(port), "http.port", "--set", "in use"):
        assert part in sentence


def test_an_address_of_another_machine_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PredisError, match=r"192\.0\.2\.1.*not an address of this machine"):
        HttpSite(configuration(tmp_path, free_port(), "192.0.2.1"))


def test_moving_to_another_port(tmp_path: Path) -> None:
    with serving(configuration(tmp_path, 0)) as (site, _):
        old = site.address
        site.move(configuration(tmp_path, free_port()))
        new = site.address

        assert new != old
        assert httpx.get(f"http://127.0.0.1:{new[1]}/livez").status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{old[1]}/livez")


def test_a_move_that_fails_changes_nothing(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        serving(configuration(tmp_path, free_port())) as (site, client),
    ):
        with pytest.raises(PredisError):
            site.move(configuration(tmp_path, taken.getsockname()[1]))

        assert client.get("/livez").status_code == 200


def test_moving_from_loopback_to_all_addresses_on_one_port_and_failing_to(tmp_path: Path) -> None:
    port = free_port()
    with serving(configuration(tmp_path, port)) as (site, client):
        site.move(configuration(tmp_path, port, "0.0.0.0"))
        assert site.address == ("0.0.0.0", port)
        assert client.get("/api/v1/status").status_code == 401
        with pytest.raises(PredisError):
            site.move(configuration(tmp_path, port, "192.0.2.1"))
        assert site.address == ("0.0.0.0", port)
        assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("port", ["the same", "another"])
def test_a_token_that_cannot_be_used_leaves_the_server_where_it_is(tmp_path: Path, port: str) -> None:
    with serving(configuration(tmp_path, free_port())) as (site, client):
        old = site.address
        (tmp_path / "http.token").write_text("short\n")

        with pytest.raises(PredisError, match="too short"):
            site.move(configuration(tmp_path, old[1] if port == "the same" else free_port(), "0.0.0.0"))

        assert site.address == old
        assert client.get("/api/v1/status").status_code == 200


@pytest.mark.parametrize("port", ["the same", "another"])
def test_a_server_that_does_not_start_elsewhere_is_back_where_it_was(
    tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(configuration(tmp_path, 0)) as (site, client):
        old, start, fail = site.address, HttpServer.start, [True]

        def failing_once(server: HttpServer) -> None:
            if fail and fail.pop():
                raise RuntimeError("can't start new thread")
            start(server)

        monkeypatch.setattr(HttpServer, "start", failing_once)
        with pytest.raises(RuntimeError):
            site.move(configuration(tmp_path, old[1] if port == "the same" else free_port(), "0.0.0.0"))

        assert site.address == old
        assert client.get("/api/v1/status").status_code == 200


def test_connections_that_say_nothing_end_with_the_server(tmp_path: Path) -> None:
    with serving(configuration(tmp_path, 0)) as (site, client):
        idle = socket.create_connection(("127.0.0.1", site.address[1]), timeout=5)
        assert client.get("/livez").status_code == 200  # so the one before is accepted too; this one is kept alive

        start = time.monotonic()
        site.stop()

        assert time.monotonic() - start < 5
        assert idle.recv(1) == b""
        idle.close()


def test_a_request_header_that_does_not_come_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence, half a header, a byte now and then, and half a second request: all end; who talks is not bothered."""
    monkeypatch.setattr("agent.http.server.HEADER_PATIENCE", 0.5)
    whole = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(configuration(tmp_path, free_port())) as (site, client):
        assert client.get("/livez").status_code == 200
        lazy = [socket.create_connection(site.address, timeout=5) for _ in range(4)]
        lazy[1].sendall(whole[:-2])
        lazy[3].sendall(whole)
        assert lazy[3].recv(1000).startswith(b"HTTP/1.1 200")
        lazy[3].sendall(whole[:10])
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            send_slowly(lazy[2], whole[:-2] * 10)
        assert 0.3 < time.monotonic() - start < 4
        for connection in lazy:
            read_to_end(connection)
            connection.close()
        assert client.get("/livez").status_code == 200


def send_slowly(connection: socket.socket, data: bytes) -> None:
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def read_to_end(connection: socket.socket) -> None:
    """Returns once the server has ended the connection, in order or not; a timeout is an error."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(1000):
            pass


def test_half_open_connections_do_not_keep_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than the server takes at once: after the deadline it answers again."""
    monkeypatch.setattr("agent.http.server.HEADER_PATIENCE", 1.0)
    with serving(configuration(tmp_path, free_port())) as (site, client):
        half_open = [socket.create_connection(site.address, timeout=5) for _ in range(520)]
        try:
            wait_until(lambda: client.get("/livez").status_code == 503, 5, "the server to be full")
            wait_until(lambda: client.get("/livez").status_code == 200, 10, "the half-open connections to be dropped")
        finally:
            for connection in half_open:
                connection.close()


def test_history_takes_its_query_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    with serving(configuration(tmp_path, 0)) as (_, client):
        answer = client.get("/api/v1/history", params={"metric": "predis_x", "label.host": "a=b", "start": "5"})
        assert answer.json()["asked"] == {"metric": "predis_x", "label.host": "a=b", "start": "5"}
        refused = client.get("/api/v1/history")
        assert (refused.status_code, refused.json()) == (400, {"error": "which metric?"})


def test_incidents_are_listed_and_shown_without_secrets(tmp_path: Path) -> None:
    with serving(configuration(tmp_path, 0)) as (_, client):
        listed = client.get("/api/v1/incidents").json()["incidents"]
        assert [(line["id"], line["cause"], line["title"]) for line in listed] == [
            ("i1", "origin", "load <is> off, says ***")
        ]
        found = client.get("/api/v1/incidents/i1").json()
        assert (found["anomalies"][0]["low"], found["anomalies"][0]["high"]) == (None, 3.0)
        assert found["anomalies"][0]["history"][0] == [1699999900.0, -10.0]
        assert found["causes"][0]["evidence"][0]["history"][:3] == [
            [1700000000, 0],
            [1700000001, None],
            [1700000002, 4],
        ]
        assert client.get("/api/v1/incidents/nobody").status_code == 404


def test_an_incident_is_a_page_with_a_picture_and_nothing_in_it_is_taken_for_html(tmp_path: Path) -> None:
    with serving(configuration(tmp_path, 0)) as (_, client):
        answer = client.get("/incidents/i1")
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "load &lt;is&gt; off, says ***" in answer.text
        assert "it is &lt;slow&gt;" in answer.text
        assert answer.text.count("<polyline") == 2, "one of the series, one of the cause"
        assert "queue{shop=&quot;&lt;b&gt;&quot;}, jobs/s" in answer.text
        assert "since 2023-11-14 22:13:20 UTC: 9, expected −∞ to 3" in answer.text
        assert set(re.findall(r'viewBox="([^"]*)"', answer.text)) == {"0 0 420 110"}, "all pictures are of one size"


def test_the_page_says_what_of_a_histogram_is_off() -> None:
    runs = dataclasses.replace(ANOMALY, series=("predis_test_seconds", ()), channel="shift.rate")
    page = incident_page(incident_document(dataclasses.replace(INCIDENT, anomalies=(runs, ANOMALY))))
    assert "<b>predis_test_seconds</b>, observations a second<br>" in page
    assert "<b>predis_test_load</b><br>" in page


def test_an_incident_that_is_none_is_a_page_for_a_browser_and_json_for_a_program(tmp_path: Path) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with serving(configuration(tmp_path, 0)) as (_, client):
        page = client.get("/incidents/<b>", headers=browser)
        assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "None is called &lt;b&gt;." in page.text
        assert 'href="/status"' in page.text
        for path, headers in (("/incidents/<b>", {}), ("/api/v1/incidents/<b>", browser)):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, list(answer.json())) == (404, ["error"])
