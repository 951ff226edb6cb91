"""History from a real Prometheus that scrapes what the agent's exporter would show."""

import http.server
import shutil
import threading
import time
from collections.abc import Iterator

import pytest

from agent.errors import PredisError
from agent.history.disk import Bounds
from agent.history.prometheus import PrometheusHistory
from agent.history.store import HistoryStore
from agent.metrics.model import Histogram, Kind, MetricSpec, Sample
from tests import servers
from tests.prometheus import PrometheusServer
from tests.waiting import wait_until

GAUGE = MetricSpec("predis_test_level", Kind.gauge, "A level.", "", ("name", "host"))
TOOK = MetricSpec("predis_test_took_seconds", Kind.histogram, "How long.", "seconds")
SPECS = {spec.name: spec for spec in (GAUGE, TOOK)}
ODD = 'a "quoted" \\ name'
TEXT = """# TYPE predis_test_level gauge
predis_test_level{host="h",name="a \\"quoted\\" \\\\ name"} %d
predis_test_level{host="h",name="plain"} 5
# TYPE predis_test_took_seconds histogram
predis_test_took_seconds_bucket{le="0.1"} 2
predis_test_took_seconds_bucket{le="1"} 3
predis_test_took_seconds_bucket{le="+Inf"} 7
predis_test_took_seconds_sum 12.5
predis_test_took_seconds_count 7
"""


class Page(http.server.BaseHTTPRequestHandler):
    scrapes = 0

    def do_GET(self) -> None:
        Page.scrapes += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write((TEXT % Page.scrapes).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    page = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=page.serve_forever, daemon=True).start()
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), page.server_port)
    try:
        wait_until(server.ready, 60, "Prometheus is ready")
        wait_until(
            lambda: (server.value("count_over_time(predis_test_took_seconds_sum[1h])") or 0) >= 4, 60, "4 scrapes"
        )
        yield server
    finally:
        server.stop()
        page.shutdown()


def history(server: PrometheusServer, selector: str = 'job="predis"') -> PrometheusHistory:
    return PrometheusHistory(f"http://127.0.0.1:{server.port}/", selector, SPECS.get, 86_400.0)


def test_series_points_and_histograms_are_read_as_they_were_scraped(prometheus: PrometheusServer) -> None:
    read = history(prometheus)
    assert set(read.keys(GAUGE.name)) == {(GAUGE.name, (ODD, "h")), (GAUGE.name, ("plain", "h"))}
    points = read.points((GAUGE.name, (ODD, "h")), time.time() - 600, time.time())
    assert len(points) >= 4
    values = [value for _, value in points]
    assert values == [values[0] + number for number in range(len(values))]
    newest = read.latest((GAUGE.name, (ODD, "h")))
    assert newest is not None
    assert newest[1] >= values[-1]
    found = read.histograms((TOOK.name, ()), time.time() - 600, time.time())
    assert len(found) >= 4
    assert {histogram for _, histogram in found} == {Histogram((0.1, 1.0), (2, 1, 4), 12.5)}
    assert {value for _, value in read.points((TOOK.name, ()), time.time() - 600, time.time())} == {7.0}


def test_many_series_asked_for_together_have_the_points_that_each_has(prometheus: PrometheusServer) -> None:
    reader = history(prometheus)
    keys = [key for name in SPECS for key in reader.keys(name)]
    assert len({key[0] for key in keys}) < len(keys)
    start, end = time.time() - 600, time.time()
    found = reader.points_of([*keys, ("nobody", ())], start, end)
    for key in keys:
        points = [point for point in reader.points(key, start, end) if point[0] <= max(at for at, _ in found[key])]
        assert found[key] == points != []


def test_long_spans_come_at_even_steps(prometheus: PrometheusServer) -> None:
    read = PrometheusHistory(f"http://127.0.0.1:{prometheus.port}", "", SPECS.get, 30 * 86_400.0)
    points = read.points((GAUGE.name, ("plain", "h")), 0, time.time())
    assert {value for _, value in points} <= {5.0}
    assert len(points) <= 2


def test_a_selector_tells_agents_apart(prometheus: PrometheusServer) -> None:
    assert history(prometheus, 'job="another"').keys(GAUGE.name) == []


def test_the_store_reads_there_what_is_not_in_memory(prometheus: PrometheusServer) -> None:
    store = HistoryStore()
    store.use(None, Bounds(1, 1, 1), history(prometheus))
    before = len(store.points((GAUGE.name, ("plain", "h")), 0, 1e10))
    assert before >= 4
    store.accept("test", 10.0, {(GAUGE.name, ("plain", "h")): Sample(GAUGE.name, 77.0, ("plain", "h"))})
    points = store.points((GAUGE.name, ("plain", "h")), 0, time.time())
    assert [value for _, value in points][:before] == [5.0] * before
    assert points[-1][1] == 77.0 or 77.0 in dict(points).values()
    assert len(store.keys(GAUGE.name)) == 2


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("", "cannot be reached"), ("/nowhere", "HTTP status 404")],
)
def test_a_server_that_is_none_is_named(prometheus: PrometheusServer, path: str, complaint: str) -> None:
    port = prometheus.port if path else servers.free_port()
    read = PrometheusHistory(f"http://127.0.0.1:{port}{path}", "", SPECS.get, 86_400.0)
    with pytest.raises(PredisError, match=complaint):
        read.keys(GAUGE.name)
    store = HistoryStore()
    store.use(None, Bounds(1, 1, 1), read)
    assert store.keys(GAUGE.name) == []
    assert complaint in store.status()["error"]
