"""A real Prometheus scrapes a real agent under load, and answers what people ask of it."""

import math
import os
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from tests import servers
from tests.prometheus import PrometheusServer
from tests.servers import Server
from tests.waiting import wait_until

NAME = "predis_command_duration_seconds"
P99 = "histogram_quantile(0.99, sum by (le) (rate(predis_command_duration_seconds_bucket[30s])))"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Server]:
    """An agent that collects every second."""
    started = servers.start_agent(tmp_path, "agent.interval=1s")
    yield started
    try:
        started.stop()
    finally:
        servers.stop_cache_of(started)


@pytest.fixture
def prometheus(tmp_path: Path, agent: Server) -> Iterator[PrometheusServer]:
    """A Prometheus that scrapes the agent; skipped loudly where it is not installed."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed; `make peers` installs it")
    folder = tmp_path / "prometheus"
    folder.mkdir()
    server = PrometheusServer(folder, agent.extra["prometheus"], features=("exemplar-storage",))
    try:
        wait_until(server.ready, 30, "Prometheus' readiness")
        yield server
    finally:
        server.stop()


@pytest.fixture
def with_native(tmp_path: Path, agent: Server) -> Iterator[PrometheusServer]:
    """One that stores native histograms and exemplars."""
    folder = tmp_path / "native"
    folder.mkdir()
    server = PrometheusServer(folder, agent.extra["prometheus"], features=("native-histograms", "exemplar-storage"))
    try:
        wait_until(server.ready, 30, "Prometheus' readiness")
        yield server
    finally:
        server.stop()


def load(agent: Server) -> None:
    """A short burst of real load from redis-benchmark."""
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(agent.port), "-a", str(agent.password), "-q"]
    command += ["-t", "get,set,incr", "-n", "3200", "-c", "10", "-P", "16", "-r", "1000"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def scrape(agent: Server, accept: str) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{agent.extra['prometheus']}/metrics", headers={"Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


needs_benchmark = pytest.mark.skipif(
    shutil.which("redis-benchmark") is None, reason="redis-benchmark is not installed; `make peers` installs it"
)


@needs_benchmark
def test_prometheus_answers_a_p99_query_over_the_latencies(agent: Server, prometheus: PrometheusServer) -> None:
    def p99_under_load() -> float | None:
        load(agent)
        value = prometheus.value(P99)
        return value if value is not None and math.isfinite(value) else None

    p99 = wait_until(p99_under_load, 60, "a p99 in Prometheus")
    assert p99 is not None
    assert 0 < p99 < 1
    assert prometheus.value("up") == 1
    targets = prometheus.ask("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]

    # Per command: exactly the commands that were sent, over the whole way from the engine to Prometheus.
    with agent.client() as client:
        info = client.command("INFO", "commandstats")
    text = info.decode() if isinstance(info, bytes) else str(info)
    calls = next(line for line in text.splitlines() if line.startswith("cmdstat_get:"))
    sent = int(calls.partition("calls=")[2].partition(",")[0])
    assert sent > 0
    assert sent % 3200 == 0
    for query in ('predis_commands_total{command="get"}', 'predis_command_duration_seconds_count{command="get"}'):
        wait_until(lambda query=query: prometheus.value(query) == sent, 20, f"{query} = {sent}")  # type: ignore[misc]

    # The unit is in OpenMetrics only: Prometheus asked for that, and understood it.
    metadata = prometheus.ask("metadata", metric="predis_command_duration_seconds")
    (described,) = metadata["predis_command_duration_seconds"]
    assert (described["type"], described["unit"]) == ("histogram", "seconds")


def test_promtool_has_nothing_to_complain_about_and_openmetrics_is_valid(agent: Server) -> None:
    names = {"cache_metrics", "host_metrics", "gpu_metrics", "prometheus"}

    def complete() -> str | None:
        text = scrape(agent, "text/plain;version=0.0.4")
        run = all(f'predis_plugin_runs_total{{plugin="{name}"}}' in text for name in names)
        return text if "predis_cache_up 1.0" in text and run else None

    with agent.client() as client:
        client.command("SET", "a", "1")
        client.command("GET", "a")
    text = wait_until(complete, 20, "a scrape with the cache's and the plugins' metrics")
    assert text is not None
    assert "predis_command_duration_seconds_bucket" in text
    assert "predis_build_info{" in text
    assert 'predis_supervisor_restarts_total{reason="killed"} 0.0' in text
    openmetrics = scrape(agent, "application/openmetrics-text;version=1.0.0")
    families = list(parse_openmetrics(openmetrics))
    assert len(families) >= 25
    plugins = {sample.labels["plugin"] for f in families if f.name == "predis_plugin_runs" for sample in f.samples}
    assert plugins >= names
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; `make peers` installs it")
    for exposition in (text, scrape(agent, "text/plain;version=1.0.0")):
        done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_slow_command_is_an_exemplar_in_prometheus_and_native_histograms_say_what_classic_ones_do(
    agent: Server, prometheus: PrometheusServer, with_native: PrometheusServer
) -> None:
    # given some load, and a command that counts as slow, of a key that names somebody
    load(agent)
    with agent.client() as client:
        client.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
        client.command("GET", "ann@example.com")
        client.command("CONFIG", "SET", "slowlog-log-slower-than", "10000")
        log: Any = client.command("SLOWLOG", "GET", "-1")
    (entry,) = [each for each in log if each[3][0] == b"GET"]
    # when each Prometheus has scraped it, then both lead from the latencies of GET to the entry of the slow log
    for server, name in ((prometheus, f"{NAME}_bucket"), (with_native, NAME)):

        def exemplars(server: PrometheusServer = server, name: str = name) -> Any:
            now = time.time()
            query = f'{name}{{command="get"}}'
            return server.ask("query_exemplars", query=query, start=str(now - 300), end=str(now + 60))

        (series,) = wait_until(exemplars, 30, f"an exemplar of {name}")
        assert series["seriesLabels"]["command"] == "get"
        (exemplar,) = series["exemplars"]
        assert exemplar["labels"] == {"slowlog_id": str(entry[0])}
        assert (exemplar["timestamp"], float(exemplar["value"])) == (entry[1], entry[2] / 1e6)
        assert "rror" not in server.log.read_text()
    # and the same histogram is a native one for who can store it
    for command in ("get", "set"):
        count = prometheus.value(f'{NAME}_count{{command="{command}"}}')
        assert count is not None
        assert count >= 3200
        wait_until(lambda c=command, n=count: with_native.value(f'histogram_count({NAME}{{command="{c}"}})') == n, 20)  # type: ignore[misc]
        total = with_native.value(f'histogram_sum({NAME}{{command="{command}"}})')
        assert total == pytest.approx(prometheus.value(f'{NAME}_sum{{command="{command}"}}'))


def test_a_killed_cache_shows_as_a_restart_and_its_counters_go_on(agent: Server) -> None:
    def numbers() -> dict[str, float]:
        families = parse_openmetrics(scrape(agent, "application/openmetrics-text;version=1.0.0"))
        return {
            ",".join([sample.name, *sample.labels.values()]): sample.value
            for family in families
            for sample in family.samples
        }

    with agent.client() as client:
        for number in range(100):
            client.command("SET", f"key {number}", "value")
    before = wait_until(
        lambda: found if (found := numbers()).get("predis_commands_total,set", 0) >= 100 else None, 20, "100 SETs"
    )
    assert before is not None
    assert before["predis_supervisor_restarts_total,killed"] == 0
    os.kill(int((agent.data_dir / "cache.pid").read_text()), signal.SIGKILL)

    def restarted() -> dict[str, float] | None:
        found = numbers()
        return (
            found if found["predis_supervisor_restarts_total,killed"] == 1 and found["predis_cache_up"] == 1 else None
        )

    after = wait_until(restarted, 30, "a restart and a recovery in the metrics")
    assert after is not None
    assert after["predis_keys"] == 100
    assert after["predis_cache_up"] == 1
    assert after["predis_commands_total,set"] >= before["predis_commands_total,set"]
    assert after["predis_cache_start_time_seconds"] > before["predis_cache_start_time_seconds"]


def test_a_scrape_is_quick_and_the_exporters_port_is_free_after_the_stop(agent: Server) -> None:
    wait_until(lambda: "predis_cache_up 1.0" in scrape(agent, "text/plain"), 20, "a scrape")
    with agent.client() as client:
        for command in ("SET k v", "GET k", "INCR n", "DEL k", "EXISTS k", "TTL k", "STRLEN k", "APPEND k v", "DBSIZE"):
            client.command(*command.split())

    def milliseconds() -> float:
        start = time.perf_counter()
        scrape(agent, "application/openmetrics-text;version=1.0.0")
        return (time.perf_counter() - start) * 1000

    assert min(milliseconds() for _ in range(5)) < 30
    agent.stop()
    assert servers.http_status(f"http://127.0.0.1:{agent.extra['prometheus']}/metrics") == 0
