"""Grafana's dashboard and Prometheus' rules ask for what the exporter serves, and leave no variable dangling."""

import json
import re
from collections.abc import Iterator

import pytest

from agent.api import Histogram, Kind, MetricSpec, Sample, Snapshot
from plugins.prometheus.families import families
from plugins.prometheus.plugin import Prometheus, PrometheusConfig
from tests.plugins.test_vendor_dashboards import CATALOGUE
from tests.servers import ROOT
from tests.vendors.grafana import dangling

FOLDER = ROOT / "plugins" / "prometheus" / "dashboards"
DASHBOARD = json.loads((FOLDER / "overview.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OF_THE_SCRAPE = {"job", "instance", "le"}
SELECTOR = re.compile(r"\b(predis_\w+)(?:\{([^}]*)\})?(\[[^\]]+\])?")
COUNTED = re.compile(r"\b(?:rate|increase)\($")


def served() -> dict[str, tuple[MetricSpec, set[str]]]:
    """Each name that the exporter serves for a catalogued metric, with its labels."""
    found: dict[str, tuple[MetricSpec, set[str]]] = {}
    for spec in CATALOGUE.values():
        value = Histogram((1.0,), (1, 0), 1.0) if spec.kind is Kind.histogram else 1.0
        sample = Sample(spec.name, value, tuple("x" for _ in spec.labels))
        for family in families(Snapshot(1.0, {sample.key: sample}, {spec.name: spec})):
            for one in family.samples:
                found[one.name] = (spec, set(one.labels))
        if spec.kind is Kind.histogram:
            found[spec.name] = (spec, set(spec.labels))  # the native one
    return found


SERVED = served()


def rules() -> Iterator[str]:
    """The expressions of the rules; the file is plain enough to be read without a YAML parser."""
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    for match in re.finditer(r"^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", text, re.MULTILINE):
        yield " ".join((match[1] or match[2]).split())


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize("query", [*expressions(), *rules()])
def test_a_query_names_what_is_served_with_its_labels_and_counts_what_counts(query: str) -> None:
    found = list(SELECTOR.finditer(query))
    assert found
    labels = set(OF_THE_SCRAPE)
    for match in found:
        name, matchers, window = match.groups()
        assert name in SERVED, f"{name} is not served"
        spec, own = SERVED[name]
        labels |= own
        assert set(re.findall(r"(\w+)=", matchers or "")) <= own | OF_THE_SCRAPE, query
        counts = spec.kind in (Kind.counter, Kind.histogram)
        assert bool(COUNTED.search(query[: match.start()])) == counts, f"{name} in {query}"
        assert not counts or window
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    assert grouped <= labels, query
    if "histogram_quantile" in query:
        # classic histograms, or native ones where Prometheus stores only those
        classic, native = query.strip("()").split(" or ")
        assert "le" in grouped
        assert native.startswith(re.sub(r"\ble,|, ?le\b| by \(le\)", "", classic.rstrip(")")).replace("_bucket", ""))
        assert [match[1].endswith("_bucket") for match in found] == [True, False]


def test_no_rule_was_overlooked() -> None:
    assert len(list(rules())) == (FOLDER / "alerts.yml").read_text(encoding="utf-8").count("- alert:") > 10


def test_legends_name_labels_by_which_the_query_groups() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            grouped = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped, target


def test_every_panel_takes_the_data_source_that_was_chosen_and_no_variable_dangles() -> None:
    assert dangling(DASHBOARD) == []
    (choice,) = (one for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource")
    assert (choice["name"], choice["query"]) == ("datasource", "prometheus")
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [
            chosen,
            *(chosen for _ in panel["targets"]),
        ]
    assert all(one["datasource"] == chosen for one in DASHBOARD["templating"]["list"] if one["type"] == "query")
    assert "__inputs" not in DASHBOARD
    assert DASHBOARD["id"] is None


def test_the_fakes_check_of_variables_finds_both_kinds_of_mistake() -> None:
    board = {"templating": {"list": [{"name": "job"}]}, "panels": [{"datasource": {"uid": "${DS_PROMETHEUS}"}}]}
    assert [violation.text for violation in dangling(board)] == [
        "$DS_PROMETHEUS is used and not defined",
        "$job is defined and not used",
    ]


def test_panels_lie_beside_each_other() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert 0 <= grid["x"] <= 24 - grid["w"]
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"], (x, y)
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_the_url_of_the_command_line_counts_before_the_configured_one() -> None:
    plugin = Prometheus(PrometheusConfig(grafana_url="https://grafana.example.com/sub"))
    for url, where in (("", "https://grafana.example.com/sub"), ("http://localhost:3000/", "http://localhost:3000")):
        shipped = plugin.predis_dashboards(url)
        assert shipped.where == where
        shipped.close()
