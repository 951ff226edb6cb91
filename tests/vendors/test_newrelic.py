"""The fake of New Relic takes what the telemetry SDK sends, and records what would become an NrIntegrationError."""

import gzip
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from newrelic_telemetry_sdk import (
    CountMetric,
    Event,
    EventClient,
    GaugeMetric,
    MetricClient,
    Span,
    SpanClient,
    SummaryMetric,
)

from tests.vendors.faults import partial
from tests.vendors.running import Vendor, start_vendor

USER_KEY = "NRAK-0123456789ABCDEFGHIJKLMNOPQ"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("newrelic", tmp_path_factory.mktemp("vendors"), tls=True) as running:
        yield running


@pytest.fixture
def vendor(shared: Vendor) -> Vendor:
    shared.reset()
    return shared


def metric(**changed: Any) -> dict[str, Any]:
    """A valid gauge, with these keys changed; `interval_ms` is interval.ms, None leaves a key out."""
    valid = {"name": "predis_keys", "type": "gauge", "value": 1.5, "timestamp": int(time.time() * 1000)}
    merged = {**valid, "attributes": {"db": "0"}, **changed}
    return {key.replace("interval_ms", "interval.ms"): value for key, value in merged.items() if value is not None}


def post(vendor: Vendor, value: Any, path: str = "/metric/v1", **headers: str) -> tuple[int, Any]:
    """Send it as compressed JSON, or as it is, and return status and body; header names have _ for -."""
    body = value if isinstance(value, bytes) else gzip.compress(json.dumps(value).encode())
    given = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Api-Key": vendor.api_key}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    context = ssl.create_default_context(cafile=str(vendor.ca_file))
    try:
        request = urllib.request.Request(vendor.url + path, body, given)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def codes(vendor: Vendor) -> list[str]:
    return [violation["code"] for violation in vendor.violations()]


def test_metrics_events_and_spans_of_the_sdk_are_taken(vendor: Vendor) -> None:
    options = {"host": "127.0.0.1", "port": vendor.port, "ca_certs": str(vendor.ca_file)}
    metrics = [
        GaugeMetric("predis_keys", 1.5, tags={"db": "0"}),
        CountMetric("predis_ops_total", 7, interval_ms=10_000, tags={"command": "get"}),
        SummaryMetric("predis_latency", count=2, sum=0.3, min=0.1, max=0.2, interval_ms=10_000),
    ]
    assert MetricClient(vendor.api_key, **options).send_batch(metrics, {"attributes": {"host": "here"}}).status == 202
    assert EventClient(vendor.api_key, **options).send(Event("PredisIncident", {"title": "down"})).status == 200
    with Span("remediation", tags={"step": "restart"}) as span:
        pass
    assert SpanClient(vendor.api_key, **options).send(span).status == 202
    assert vendor.violations(altered=True) == []
    gauge, count, summary, event, traced = vendor.received()
    assert (gauge.name, gauge.value, gauge.tags) == ("predis_keys", 1.5, (("host", "here"), ("db", "0")))
    assert (count.kind, count.value, count.interval) == ("count", 7, 10.0)
    assert summary.value == {"count": 2, "sum": 0.3, "min": 0.1, "max": 0.2}
    assert (event.lane, event.name, event.tags) == ("event", "PredisIncident", (("title", "down"),))
    assert (traced.lane, traced.name) == ("span", "remediation")


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("interval", {"type": "count"}),
        ("interval", {"type": "count", "interval_ms": 0}),
        ("interval", {"type": "summary", "value": {"count": 1, "sum": 1, "min": 1, "max": 1}}),
        ("value", {"type": "summary", "interval_ms": 1, "value": 1}),
        ("value", {"type": "summary", "interval_ms": 1, "value": {"count": 1, "sum": 1, "min": None, "max": 1}}),
        ("value", {"value": "1"}),
        ("value", {"value": 1 << 63}),
        ("type", {"type": "histogram"}),
        ("metric_name", {"name": "n" * 255}),
        ("timestamp", {"timestamp": None}),
        ("timestamp", {"timestamp": 1.5}),
        ("too_old", {"timestamp": int(time.time() * 1000) - 49 * 3_600_000}),
        ("too_new", {"timestamp": int(time.time() * 1000) + 25 * 3_600_000}),
        ("attributes", {"attributes": {f"a{number}": "" for number in range(151)}}),
        ("attribute", {"attributes": {"a-b": "c"}}),
        ("attribute", {"attributes": {"a": "b" * 4097}}),
        ("attribute", {"attributes": {"a": ["b"]}}),
        ("attribute", {"attributes": {"count": "1"}}),
        ("attribute", {"attributes": {"predis_keys": "1"}}),
        ("schema", {"unit": "1"}),
    ],
)
def test_wrong_content_is_answered_202_and_recorded(vendor: Vendor, code: str, changed: dict[str, Any]) -> None:
    status, body = post(vendor, [{"metrics": [metric(name="good"), metric(**changed)]}])
    assert (status, list(body)) == (202, ["requestId"])
    assert codes(vendor) == [code]
    assert [point.name for point in vendor.received()] == ["good"]


@pytest.mark.parametrize(
    ("status", "code", "value", "headers"),
    [
        (403, "api_key", [{"metrics": [metric()]}], {"Api_Key": "f" * 40}),
        (415, "content_type", [{"metrics": [metric()]}], {"Content_Type": "text/plain"}),
        (415, "content_encoding", b"x", {"Content_Encoding": "zstd"}),
        (415, "compression", b"x", {}),
        (413, "wire_bytes", b"x" * 1_000_001, {}),
        (400, "json", gzip.compress(b'[{"metrics": [{"value": NaN}]}]'), {}),
        (400, "schema", {"metrics": [metric()]}, {}),
        (400, "schema", [{"metrics": []}], {}),
    ],
)
def test_a_broken_rule_of_the_request_is_named(
    vendor: Vendor, status: int, code: str, value: Any, headers: dict[str, str]
) -> None:
    assert post(vendor, value, **headers)[0] == status
    assert codes(vendor) == [code]
    assert vendor.received() == []


def test_keys_in_the_url_and_other_paths_and_duplicates_are_named(vendor: Vendor) -> None:
    assert post(vendor, [{"metrics": [metric()]}], f"/metric/v1?Api-Key={vendor.api_key}")[0] == 403
    assert post(vendor, [], "/metric/v2")[0] == 404
    same = metric()
    assert post(vendor, [{"metrics": [same, same]}])[0] == 202
    assert codes(vendor) == ["key_in_url", "path", "duplicate"]


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("event_type", {"eventType": "a-b"}),
        ("event_type", {"eventType": "Metric"}),
        ("attribute", {"nested": {"a": 1}}),
        ("attribute", {"truth": True}),
        ("attribute", {"accountId": 1}),
        ("attributes", {f"a{number}": 1 for number in range(255)}),
        ("too_old", {"timestamp": int(time.time()) - 90_000}),
    ],
)
def test_a_wrong_event_is_recorded(vendor: Vendor, code: str, changed: dict[str, Any]) -> None:
    event = {"eventType": "PredisIncident", "title": "down", **changed}
    assert post(vendor, [event], "/v1/accounts/12345/events")[0] == 200
    assert codes(vendor) == [code]
    assert vendor.received() == []


def test_a_wrong_span_is_recorded_and_a_late_one_of_a_known_trace_is_taken(vendor: Vendor) -> None:
    old = int((time.time() - 1800) * 1000)
    late = {"id": "1", "trace.id": "t", "timestamp": old, "attributes": {"name": "late"}}
    assert post(vendor, [{"spans": [late]}], "/trace/v1")[0] == 202
    assert codes(vendor) == ["too_old"]
    young = {"id": "2", "trace.id": "t", "attributes": {"name": "young", "duration.ms": 5}}
    nameless = {"id": "3", "trace.id": "t", "attributes": {}}
    assert post(vendor, [{"spans": [young, late, nameless]}], "/trace/v1")[0] == 202
    assert codes(vendor) == ["too_old", "schema"]
    assert [point.name for point in vendor.received("span")] == ["young", "late"]


def test_an_unforeseen_integration_error_drops_points_behind_a_202(vendor: Vendor) -> None:
    vendor.script([partial(1)])
    assert post(vendor, [{"metrics": [metric(name="a"), metric(name="b")]}])[0] == 202
    assert [point.name for point in vendor.received()] == ["a"]
    assert vendor.violations() == []


def test_dashboards_and_conditions_are_installed_over_graphql(vendor: Vendor) -> None:
    def ask(query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        status, answer = post(vendor, body, "/graphql", API_Key=USER_KEY, Content_Encoding="identity")
        assert status == 200
        return answer

    query = {"accountIds": [1], "query": "FROM Metric SELECT latest(predis_up)"}
    widget = {
        "title": "up",
        "layout": {"column": 1, "row": 1, "width": 4, "height": 3},
        "visualization": {"id": "viz.line"},
        "rawConfiguration": {"nrqlQueries": [query]},
    }
    board = {"name": "Predis", "permissions": "PUBLIC_READ_WRITE", "pages": [{"name": "one", "widgets": [widget]}]}
    create = (
        "mutation($dashboard: DashboardInput!) { dashboardCreate(accountId: 1, dashboard: $dashboard)"
        " { entityResult { guid name } errors { description type } } }"
    )
    made = ask(create, dashboard=board)["data"]["dashboardCreate"]
    assert made["entityResult"]["name"] == "Predis"
    found = ask(
        "{ actor { entitySearch(query: \"type = 'DASHBOARD' AND name = 'Predis'\") { results { entities { guid }}}}}"
    )
    assert found["data"]["actor"]["entitySearch"]["results"]["entities"] == [{"guid": made["entityResult"]["guid"]}]
    assert vendor.violations() == []
    assert "errors" in ask(create, dashboard={**board, "colour": "red"})
    assert "errors" in ask(create, dashboard={**board, "pages": []})
    assert codes(vendor) == ["graphql", "graphql"]
    assert len(vendor.assets()["dashboards"]) == 1
