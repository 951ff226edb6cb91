"""The shipped dashboards and monitors are what the vendors take, and ask for metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.model_utils import ModelComposed, ModelNormal
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.monitor import Monitor

from agent import own_metrics
from agent.api import Kind, MetricSpec
from agent.export import report
from agent.metrics import self_metrics
from agent.metrics.docs import shipped_entry_points, specs_of
from plugins.cloudwatch.plugin import CHOSEN
from plugins.datadog.install import mark_of
from plugins.datadog.names import CHECKS
from tests.servers import ROOT

DATADOG = ROOT / "plugins" / "datadog" / "dashboards"
NEW_RELIC = ROOT / "plugins" / "newrelic" / "dashboards" / "overview.json"
NEW_RELIC_ALERTS = ROOT / "plugins" / "newrelic" / "dashboards" / "alerts.json"
CLOUDWATCH_ALARMS = ROOT / "plugins" / "cloudwatch" / "dashboards" / "alarms.json"
CATALOGUE = {
    spec.name: spec
    for specs in (own_metrics.SPECS, self_metrics.SPECS, report.SPECS, *map(specs_of, shipped_entry_points()))
    for spec in specs
}
IN_DATADOG = re.compile(r"(\w+):(predis_\w+)\{([^}]*)\}(?: by \{([^}]*)\})?(\.as_(?:rate|count)\(\))?")
IN_NRQL = re.compile(r"(\w+)\((predis_\w+)\)")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def spec_of(name: str) -> tuple[MetricSpec, bool]:
    """The metric of this name at Datadog, and whether it is counted there."""
    if name in CATALOGUE:
        return CATALOGUE[name], CATALOGUE[name].kind is Kind.counter
    family = name.removesuffix("_count").removesuffix("_sum")
    assert family in CATALOGUE, f"{name} is not catalogued"
    assert CATALOGUE[family].kind is Kind.histogram, name
    return CATALOGUE[family], True


def queries(value: Any) -> Iterator[str]:
    """Every query anywhere in a dashboard."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "query" and isinstance(item, str):
                yield item
            yield from queries(item)
    elif isinstance(value, list):
        for item in value:
            yield from queries(item)


def known(value: Any) -> None:
    """Fails where Datadog's client met something that it does not know."""
    if isinstance(value, (ModelNormal, ModelComposed)):
        assert not value._unparsed, value
        for item in value._data_store.values():
            known(item)
    elif isinstance(value, list):
        for item in value:
            known(item)


@pytest.mark.parametrize(
    ("body", "model"),
    [(read(DATADOG / "overview.json"), Dashboard), *((body, Monitor) for body in read(DATADOG / "monitors.json"))],
    ids=lambda value: value.get("title") or value.get("name") if isinstance(value, dict) else value.__name__,
)
def test_datadogs_client_reads_them(body: Any, model: Any) -> None:
    known(ApiClient(Configuration(host="https://api.example.com")).deserialize(json.dumps(body), (model,), True))


@pytest.mark.parametrize(
    "query", [q for name in ("overview", "monitors") for q in queries(read(DATADOG / f"{name}.json"))]
)
def test_datadogs_queries_name_catalogued_metrics_their_labels_and_how_they_count(query: str) -> None:
    found = list(IN_DATADOG.finditer(query))
    assert len(found) == query.count("predis_"), "a metric that is not asked for as usual"
    for aggregation, name, scope, groups, counted in (match.groups() for match in found):
        spec, is_count = spec_of(name)
        assert scope in ("$host", "*")
        assert set(groups.split(",") if groups else []) <= {*spec.labels, "host"}, query
        assert bool(counted) == is_count, query
        assert (spec.kind is Kind.histogram and not is_count) == aggregation.startswith("p"), query
    if not found:
        check = re.match(r'"([\w.]+)"\.over', query)
        assert query.startswith("kind:") or (check is not None and check[1] in CHECKS.values()), query


def test_new_relics_dashboard_has_the_form_of_dashboard_create() -> None:
    dashboard = read(NEW_RELIC)
    assert set(dashboard) == {"name", "description", "permissions", "pages"}
    for page in dashboard["pages"]:
        taken: set[tuple[int, int]] = set()
        for widget in page["widgets"]:
            assert set(widget) == {"title", "layout", "visualization", "rawConfiguration"}
            layout = widget["layout"]
            assert 1 <= layout["column"] <= 13 - layout["width"]
            cells = {
                (layout["column"] + x, layout["row"] + y)
                for x in range(layout["width"])
                for y in range(layout["height"])
            }
            assert not cells & taken, f"{widget['title']} lies over another"
            taken |= cells


@pytest.mark.parametrize("query", [*queries(read(NEW_RELIC)), *queries(read(NEW_RELIC_ALERTS))])
def test_new_relics_queries_name_catalogued_metrics_their_labels_and_how_they_count(query: str) -> None:
    assert query.count("(") == query.count(")")
    source = re.match(r"FROM (\w+) SELECT ", query)
    assert source is not None
    if source[1] != "Metric":
        assert source[1] in ("PredisEvent", "NrIntegrationError")
        assert "predis_" not in query
        return
    found = list(IN_NRQL.finditer(query))
    assert found
    assert len(found) == query.count("predis_"), "a metric that is not asked for as usual"
    facets = re.search(r" FACET (.*?)(?: TIMESERIES| LIMIT|$)", query)
    groups = {group.strip("` ") for group in facets[1].split(",")} if facets else set()
    for function, name in (match.groups() for match in found):
        spec = CATALOGUE[name]
        assert groups <= {*spec.labels, "host.name"}, query
        assert (function == "sum") == (spec.kind is Kind.counter), query


def test_cloudwatchs_alarms_watch_metrics_that_are_sent_by_default_and_have_no_labels() -> None:
    alarms = read(CLOUDWATCH_ALARMS)
    assert len({alarm["AlarmName"] for alarm in alarms}) == len(alarms)
    for alarm in alarms:
        stats = [query["MetricStat"] for query in alarm.get("Metrics", ()) if "MetricStat" in query]
        watched = [(stat["Metric"]["MetricName"], stat["Stat"]) for stat in stats]
        for name, statistic in watched or [(alarm["MetricName"], alarm["Statistic"])]:
            assert name in CHOSEN
            assert CATALOGUE[name].labels == ()  # an alarm names the dimensions exactly
            assert (statistic == "Sum") == (CATALOGUE[name].kind is Kind.counter)


def test_datadogs_monitors_and_dashboard_can_be_found_again() -> None:
    monitors = read(DATADOG / "monitors.json")
    keys = [tag for monitor in monitors for tag in monitor["tags"] if tag.startswith("predis_monitor:")]
    assert len(set(keys)) == len(monitors)
    assert mark_of(read(DATADOG / "overview.json")["description"]) == "[predis-agent/overview]"
