"""What the vendors bill: counted by hand for a snapshot of a few series."""

import gc
import json
import math
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from agent.api import MONTH, Charge, Histogram, Kind, MetricSpec, Sample, Snapshot, tiered
from agent.config import load_config
from agent.export.cost import Estimate, bill_of
from agent.metrics.document import metrics_document, snapshot_of
from agent.plugin.manager import PluginManager
from plugins.cloudwatch.plugin import CloudWatch, CloudWatchConfig
from plugins.datadog.plugin import Datadog, DatadogConfig
from plugins.newrelic.plugin import NewRelic, NewRelicConfig
from tests.servers import Server

SPECS = (
    MetricSpec("predis_keys", Kind.gauge, "Keys."),
    MetricSpec("predis_commands_total", Kind.counter, "Commands.", "", ("command",)),
    MetricSpec("predis_command_duration_seconds", Kind.histogram, "Time.", "seconds", ("command",)),
)
SAMPLES = (
    Sample("predis_keys", 5.0),
    *(Sample("predis_commands_total", 7.0, (command,)) for command in ("get", "set", "del")),
    *(
        Sample("predis_command_duration_seconds", Histogram((0.1, 0.2), (1, 2, 0), 0.5), (command,))
        for command in ("get", "set")
    ),
)
SNAPSHOT = Snapshot(1e9, {sample.key: sample for sample in SAMPLES}, {spec.name: spec for spec in SPECS})


def charges(plugin: Any, *arguments: Any) -> dict[str, Charge]:
    return {charge.what: charge for charge in plugin.predis_bill(SNAPSHOT, *arguments)}


def test_datadog_bills_a_distribution_as_five_and_its_two_counts() -> None:
    (charge,) = charges(Datadog(DatadogConfig())).values()
    assert charge.amount == 4 + 2 * (5 + 2)
    assert charge.dollars == pytest.approx(18 * 0.05)
    assert "2 histograms x (5" in charge.formula


def test_new_relic_bills_the_bytes_of_what_is_sent() -> None:
    found = charges(NewRelic(NewRelicConfig(host="h")), 10.0)
    assert found["data points"].amount == 6 * MONTH / 10
    size = float(found["data ingest"].formula.split()[0].replace(",", ""))
    assert 500 < size < 1500  # six metrics and two heads
    assert found["data ingest"].amount == pytest.approx(size * MONTH / 10 / 1e9)
    assert found["data ingest"].dollars == pytest.approx(found["data ingest"].amount * 0.40)
    buckets = charges(NewRelic(NewRelicConfig(host="h", histogram_buckets=True)), 10.0)
    assert buckets["data points"].amount > found["data points"].amount


def test_new_relics_bill_of_many_series_is_made_in_little_memory() -> None:
    labels = [(f"command{number}",) for number in range(10_000)]
    samples = {sample.key: sample for sample in (Sample("predis_commands_total", 7.0, one) for one in labels)}
    many = Snapshot(1e9, samples, {SPECS[1].name: SPECS[1]})
    plugin = NewRelic(NewRelicConfig(host="h"))
    gc.collect()
    tracemalloc.start()
    try:
        points, ingest = plugin.predis_bill(many, 10.0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert points.amount == 10_000 * MONTH / 10
    assert 950_000 < float(ingest.formula.split()[0].replace(",", "")) < 1_050_000
    assert most < 4e6  # all at once, it is 12 MB


def test_cloudwatch_bills_series_and_requests() -> None:
    found = charges(CloudWatch(CloudWatchConfig()), 60.0)
    assert (found["custom metrics"].amount, found["custom metrics"].dollars) == (6, pytest.approx(1.8))
    assert found["PutMetricData"].amount == MONTH / 60
    assert found["PutMetricData"].dollars == pytest.approx(MONTH / 60 / 1000 * 0.01)


def test_prices_that_fall_with_the_amount() -> None:
    prices = ((10.0, 3.0), (20.0, 1.0), (math.inf, 0.5))
    assert [tiered(amount, prices) for amount in (0, 10, 15, 24)] == [0, 30, 35, 42]


def test_a_charge_says_where_its_price_stands_and_when_it_was_read() -> None:
    plugins: list[tuple[Any, tuple[float, ...]]] = [
        (Datadog(DatadogConfig()), ()),
        (NewRelic(NewRelicConfig()), (10.0,)),
        (CloudWatch(CloudWatchConfig()), (10.0,)),
    ]
    for plugin, arguments in plugins:
        for charge in charges(plugin, *arguments).values():
            assert "https://" in charge.source
            assert charge.source.split()[-1].isdigit()
            assert charge.formula


def test_a_snapshot_read_from_the_api_is_the_same() -> None:
    read = snapshot_of(json.loads(json.dumps(metrics_document(SNAPSHOT))))
    assert read == SNAPSHOT


def test_a_running_exporters_estimate_is_renewed_now_and_then() -> None:
    manager = PluginManager(load_config(None, ["plugins.datadog.enabled=true", "plugins.datadog.api_key=k"], {}))
    manager.load()
    plugin = manager.plugins["datadog"]
    later = Estimate(first=3600.0)
    later.renew(plugin, SNAPSHOT, 10.0)
    assert later.status() is None
    estimate = Estimate(first=0.0, again=3600.0)
    estimate.renew(plugin, SNAPSHOT, 10.0)
    told = estimate.status()
    assert told is not None
    assert (told["dollars_a_month"], told["series"]) == (pytest.approx(0.9), 6)
    assert told["charges"] == [
        {"what": "custom metrics", "amount": 18, "unit": "custom metrics", "dollars": pytest.approx(0.9)}
    ]
    estimate.renew(plugin, Snapshot(1e9), 10.0)
    assert estimate.status() == told  # it is not due


@pytest.mark.parametrize("name", ["datadog", "newrelic", "cloudwatch"])
def test_a_plugin_with_a_process_of_its_own_bills_the_same(name: str) -> None:
    bills = []
    for isolation in ("thread", "process"):
        keys = {"enabled": "true", "isolation": isolation, **KEYS.get(name, {})}
        settings = [f"plugins.{name}.{key}={value}" for key, value in keys.items()]
        manager = PluginManager(load_config(None, settings, {}))
        manager.load()
        bills.append(bill_of(manager.plugins[name], SNAPSHOT, 10.0))
    here, there = bills
    assert there == here
    assert here.charges


KEYS = {
    "datadog": {"api_key": "k"},
    "newrelic": {"license_key": "k", "account_id": "1234567", "host": "h"},
}


def test_a_plugin_that_cannot_say_what_it_costs_exports_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = PluginManager(load_config(None, ["plugins.cloudwatch.enabled=true"], {}))
    manager.load()

    def fails(snapshot: Snapshot, interval: float) -> Any:
        raise ZeroDivisionError("prices are gone")

    monkeypatch.setattr("plugins.cloudwatch.plugin.bill", fails)
    estimate = Estimate(first=0.0)
    estimate.renew(manager.plugins["cloudwatch"], SNAPSHOT, 10.0)
    assert estimate.status() is None
    assert "prices are gone" in caplog.text


def test_the_command_tells_what_each_exporter_of_a_running_agent_costs(running_agent: Server, tmp_path: Path) -> None:
    def cost(*more: str) -> str:
        program = Path(sys.executable).parent / "predis-agent"
        settings = [f"http.port={running_agent.extra['http']}", *more]
        command = [str(program), "metrics", "cost", *(part for one in settings for part in ("--set", one))]
        done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    some = 'plugins.cloudwatch.metrics=["predis_memory_*"]'
    enabled = [f"plugins.{name}.enabled=true" for name in ("datadog", "cloudwatch", "otlp")]
    bills = {bill["exporter"]: bill for bill in json.loads(cost(*enabled, "plugins.datadog.api_key=abc", some))}
    assert bills.keys() == {"datadog", "cloudwatch", "otlp"}
    assert bills["otlp"]["charges"] is bills["otlp"]["dollars"] is None
    assert 1 < bills["cloudwatch"]["series"] < 30
    (charge,) = bills["datadog"]["charges"]
    assert charge["amount"] > bills["datadog"]["series"] > bills["cloudwatch"]["series"]
    assert bills["datadog"]["dollars"] == charge["dollars"]
