"""Grafana's dashboard and the alert rules over a real Prometheus, which scrapes a real agent with everything in use."""

import json
import logging
import math
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.api import CacheAddress, Host
from agent.metrics.catalogue import Catalogue
from agent.metrics.pipeline import Pipeline
from core_cache.resp_client import RespClient, RespError
from plugins.gpu_metrics.plugin import GpuMetrics, GpuMetricsConfig
from plugins.prometheus.plugin import Prometheus, PrometheusConfig
from tests import servers
from tests.plugins.nvml_recording import RecordedNvml
from tests.prometheus import PrometheusServer
from tests.servers import ROOT, Server
from tests.vendors.faults import status
from tests.vendors.running import Vendor, start_vendor
from tests.waiting import wait_until

FOLDER = ROOT / "plugins" / "prometheus" / "dashboards"
RULES = FOLDER / "alerts.yml"
DASHBOARD = json.loads((FOLDER / "overview.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VALUES = {"$__rate_interval": "15s", "$job": ".*", "$instance": ".*"}
"""What Grafana puts in: four scrapes and a bit, and "all" of each variable."""

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("prometheus", "promtool", "redis-server"))),
    reason="prometheus, promtool or redis-server is not installed; `make peers` installs them",
)


def queries(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def asked(expression: str) -> str:
    for name, value in VALUES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, expression
    return expression


def needs_a_gpu(panel: dict[str, Any]) -> bool:
    """Whether it shows a GPU: the only panels that may stay empty, and only on a machine without one."""
    return any("predis_gpu_" in query for query in queries(panel))


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("datadog", tmp_path_factory.mktemp("vendor")) as running:
        yield running


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory, vendor: Vendor) -> Iterator[Server]:
    """With a tenant, an exporter whose first request is refused, and a collector that gives more than it may."""
    folder = tmp_path_factory.mktemp("agent")
    vendor.script([status(403)])
    redis = servers.start_redis(folder)
    started = servers.start_agent(
        folder,
        "agent.interval=1s",
        "cache.tenants.shop.prefix=shop:",
        "cache.tenants.shop.memory=8MiB",
        "plugins.datadog.enabled=true",
        f"plugins.datadog.endpoint={vendor.url}",
        f"plugins.datadog.api_key={vendor.api_key}",
        f'plugins.redis_metrics.urls=["unix://{redis.unix_socket}"]',
        "plugins.redis_metrics.max_series=10",
    )
    yield started
    try:
        started.stop()
    finally:
        servers.stop_cache_of(started)
        redis.stop()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, agent: Server) -> Iterator[PrometheusServer]:
    server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), agent.extra["prometheus"], RULES)
    try:
        wait_until(server.ready, 30, "Prometheus' readiness")
        yield server
    finally:
        server.stop()


def load(agent: Server) -> None:
    """Some of everything that panels show, by the default user and by the tenant."""
    with agent.client() as client:
        for number in range(50):
            client.command("SET", f"key {number}", "value", "PX", "1500")
            client.command("GET", f"key {number}")
            client.command("GET", "not there")
        client.command("SET", "text", "abc")
        with pytest.raises(RespError):
            client.command("INCR", "text")
    password = (agent.data_dir / "tenants" / "shop.password").read_text().strip()
    with RespClient(agent.unix_socket, None, timeout=10.0) as client:
        client.command("AUTH", "shop", password)
        client.command("SET", "shop:basket", "3")
        client.command("GET", "shop:basket")
        client.command("GET", "shop:nothing")


def has_data(prometheus: PrometheusServer, query: str) -> bool:
    """Whether every series of a query's answer has a number."""
    result = prometheus.ask("query", query=query)["result"]
    return bool(result) and any(math.isfinite(float(series["value"][1])) for series in result)


def test_every_query_of_every_panel_has_data(agent: Server, prometheus: PrometheusServer) -> None:
    (gpus,) = [metric["samples"][0]["value"] for metric in _metrics(agent) if metric["name"] == "predis_gpu_devices"]
    # given panels that this machine can fill
    wanted = {
        (panel["title"], query): asked(query)
        for panel in PANELS
        for query in queries(panel)
        if gpus or not needs_a_gpu(panel)
    }
    assert len(wanted) > 60

    # when Prometheus has scraped an agent at work for a while
    def without_data() -> dict[tuple[str, str], str]:
        load(agent)
        return {place: query for place, query in wanted.items() if not has_data(prometheus, query)}

    left = dict(wanted)

    def none_is_left() -> bool:
        nonlocal left
        left = without_data()
        return not left

    # then each shows something
    try:
        wait_until(none_is_left, 45, "data in every panel")
    except AssertionError:
        pytest.fail("no data:\n" + "\n".join(f"{title}: {query}" for (title, _), query in left.items()))


def test_the_panels_of_gpus_have_data_where_there_are_some(tmp_path: Path) -> None:
    # given what NVML says on a machine with two GPUs, played back, on an exporter's page
    recording = json.loads((ROOT / "tests" / "plugins" / "data" / "nvml_datacentre.json").read_text())
    cache = CacheAddress(tmp_path / "cache.sock", "127.0.0.1", 0, None, tmp_path / "cache.arena")
    host = Host(tmp_path, cache, "0", logging.getLogger("test"))
    gpus, exporter = GpuMetrics(GpuMetricsConfig(), RecordedNvml(recording)), Prometheus(PrometheusConfig(port=0))
    pipeline = Pipeline(Catalogue())
    pipeline.catalogue.add("gpu_metrics", gpus.predis_metric_specs())
    gpus.predis_start(host)
    exporter.predis_start(host)
    pipeline.accept("gpu_metrics", gpus.predis_collect())
    exporter.predis_export(pipeline.snapshot())
    # when Prometheus scrapes it
    server = PrometheusServer(tmp_path, exporter.port)
    try:
        wait_until(server.ready, 30, "Prometheus' readiness")
        wanted = [asked(query) for panel in PANELS if needs_a_gpu(panel) for query in queries(panel)]
        # then these panels show something, too
        assert len(wanted) >= 6
        for query in wanted:
            wait_until(lambda query=query: has_data(server, query), 20, query)  # type: ignore[misc]
    finally:
        server.stop()
        exporter.predis_stop()
        gpus.predis_stop()


def _metrics(agent: Server) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{agent.extra['http']}/api/v1/metrics", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["metrics"]
    return found


def test_the_variables_offer_what_there_is(agent: Server, prometheus: PrometheusServer) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            assert found is not None
            selector, label = asked(found[1]), found[2]
            series = wait_until(lambda s=selector: prometheus.ask("series", **{"match[]": s}), 20, selector)  # type: ignore[misc]
            assert {one[label] for one in series} == {"predis"} or label == "instance"


def test_the_rules_are_good_and_evaluate_without_an_error(agent: Server, prometheus: PrometheusServer) -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

    def evaluated() -> list[dict[str, Any]] | None:
        (group,) = prometheus.ask("rules")["groups"]
        rules: list[dict[str, Any]] = group["rules"]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_until(evaluated, 30, "the evaluation of all rules")
    assert rules is not None
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    assert len(rules) == RULES.read_text().count("- alert:")


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    """A series of promtool's unit tests, a value a minute."""
    where = {"job": "predis", "instance": "box:9090", **labels}
    return {"series": name + "{" + ",".join(f'{key}="{value}"' for key, value in where.items()) + "}", "values": values}


WELL = [
    series("predis_agent_threads", "12x60"),
    series("predis_cache_up", "1x60"),
    series("predis_memory_used_bytes", "50x60"),
    series("predis_memory_max_bytes", "100x60"),
    series("predis_keyspace_hits_total", "0+90x60"),
    series("predis_keyspace_misses_total", "0+10x60"),
    series("predis_command_duration_seconds_bucket", "0+100x60", le="0.001"),
    series("predis_command_duration_seconds_bucket", "0+100x60", le="10"),
    series("predis_command_duration_seconds_bucket", "0+100x60", le="+Inf"),
    series("predis_connections_rejected_total", "0x60"),
    series("predis_tls_certificate_expiry_time_seconds", "0x60"),
    series("predis_config_last_reload_success", "1x60"),
    series("predis_plugin_failures_total", "0x60", plugin="gpu_metrics", reason="exception"),
    series("predis_export_dropped_points_total", "0x60", exporter="datadog", reason="http_403"),
    series("predis_export_lag_seconds", "1x60", exporter="datadog"),
    series("predis_supervisor_restarts_total", "0x60", reason="killed"),
]
"""An hour in which nothing is wrong."""

ILL = {
    "PredisCacheDown": series("predis_cache_up", "0x60"),
    "PredisAgentSilent": series("predis_agent_threads", "12x30 _x30"),
    "PredisRestartedOften": series("predis_supervisor_restarts_total", "0+1x60", reason="killed"),
    "PredisMemoryFull": series("predis_memory_used_bytes", "99x60"),
    "PredisHitRatioLow": series("predis_keyspace_hits_total", "0+5x60"),
    "PredisCommandsSlow": series("predis_command_duration_seconds_bucket", "0+10x60", le="0.001"),
    "PredisConnectionsRefused": series("predis_connections_rejected_total", "0+1x60"),
    "PredisCertificateEnds": series("predis_tls_certificate_expiry_time_seconds", "86400x60"),
    "PredisConfigRefused": series("predis_config_last_reload_success", "0x60"),
    "PredisPluginFails": series("predis_plugin_failures_total", "0+1x60", plugin="gpu_metrics", reason="exception"),
    "PredisPointsLost": series("predis_export_dropped_points_total", "0+9x60", exporter="datadog", reason="http_403"),
    "PredisExporterLate": series("predis_export_lag_seconds", "900x60", exporter="datadog"),
}
"""What makes each alert fire, instead of the series of the same name when all is well."""


@pytest.mark.parametrize("alert", [None, *ILL])
def test_an_alert_fires_when_it_should_and_no_other(alert: str | None, tmp_path: Path) -> None:
    # given an hour in which one thing, or nothing, is wrong
    ill = None if alert is None else ILL[alert]
    lines = [ill if ill is not None and one["series"] == ill["series"] else one for one in WELL]
    assert ill is None or ill in lines
    # when its rules are evaluated at the end of it; promtool compares whole alerts, so it asks for their names alone
    names = "group by (alertname) (ALERTS{alertstate='firing'})"
    firing = [] if alert is None else [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
    test = {
        "interval": "1m",
        "input_series": lines,
        "promql_expr_test": [{"expr": names, "eval_time": "60m", "exp_samples": firing}],
    }
    file = tmp_path / "test.yml"  # JSON is YAML
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    # then that one fires
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_case() -> None:
    assert set(ILL) == set(re.findall(r"- alert: (\w+)", RULES.read_text()))
