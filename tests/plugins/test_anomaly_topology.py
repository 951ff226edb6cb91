"""Every metric that we emit belongs to the component that people look for behind it."""

import pytest

from agent.api import Anomaly, Incident, MetricSpec
from agent.metrics.docs import shipped_entry_points, specs_of
from agent.own_specs import SPECS as OF_THE_AGENT
from plugins.anomaly.cause.explain import explain
from plugins.anomaly.cause.topology import Topology
from tests.plugins.test_anomaly_cause_explain import OPENED, Kept, from_opening

OF_PLUGINS = {
    point.name: {spec.name: spec for spec in specs} for point in shipped_entry_points() if (specs := specs_of(point))
}
ALL = {spec.name: spec for spec in OF_THE_AGENT} | {
    name: spec for of in OF_PLUGINS.values() for name, spec in of.items()
}
# Whose each plugin's metrics are, where no label of theirs tells it.
OTHERWISE = {
    "anomaly": "plugin:anomaly",
    "cache_metrics": "cache",
    "forecasting": "plugin:forecasting",
    "gpu_metrics": "gpu",
    "host_metrics": "host",
    "prometheus": "exporter:prometheus",
}
LABELS = {
    "tenant": "tenant",
    "gpu": "gpu",
    "origin": "origin",
    "server": "redis",
    "plugin": "plugin",
    "exporter": "exporter",
}


def expected(source: str, spec: MetricSpec) -> str:
    """What its labels say, or else who emits it."""
    kind = next((LABELS[label] for label in spec.labels if label in LABELS), None)
    if kind is not None:
        return f"{kind}:mine"
    return "cache" if spec.name.startswith(("predis_cache_", "predis_supervisor_")) else OTHERWISE.get(source, "agent")


@pytest.mark.parametrize("source", ["agent", *OF_PLUGINS])
def test_every_metric_is_of_the_component_that_one_expects(source: str) -> None:
    topology, specs = (
        Topology.load(),
        {spec.name: spec for spec in OF_THE_AGENT} if source == "agent" else OF_PLUGINS[source],
    )
    found = {name: topology.component(name, dict.fromkeys(spec.labels, "mine")) for name, spec in specs.items()}
    assert found == {name: expected(source, spec) for name, spec in specs.items()}


def test_what_tells_of_incidents_and_forecasts_is_behind_none() -> None:
    # given an incident of the host, with which the count of anomalies, a forecast and the rules' work rise
    kept = Kept(
        {
            ("predis_host_cpu_busy_ratio", ()): from_opening(0.3, 0.99),
            ("predis_anomalies", ()): from_opening(0, 9),
            ("predis_anomaly_open", ("shift",)): from_opening(0, 9),
            ("predis_incidents_open", ()): from_opening(0, 3),
            ("predis_forecast_peak", ("predis_host_cpu_busy_ratio", "", "middle")): from_opening(0.3, 0.99),
            ("predis_rules_step_duration_seconds", ()): from_opening(0.01, 0.5),
        }
    )
    key = ("predis_host_cpu_busy_ratio", ())
    alarm = Anomaly(key, (), OPENED, OPENED + 50, "deviation", 0.99, 0.0, 0.5, 0.99, 1e-6)
    found = explain(Incident("i", OPENED, "busy", (alarm,)), kept, ALL, topology=Topology.load(), signatures=[])
    assert {cause.component for cause in found} == {"host", "agent"}
    assert [name for cause in found for name, _ in cause.series if cause.component == "agent"] == [
        "predis_rules_step_duration_seconds"
    ]
