"""The fake of Datadog takes what Datadog's own client sends, and names every rule that is broken."""

import json
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.dashboards_api import DashboardsApi
from datadog_api_client.v1.api.events_api import EventsApi
from datadog_api_client.v1.api.metrics_api import MetricsApi as MetricsApiV1
from datadog_api_client.v1.api.monitors_api import MonitorsApi
from datadog_api_client.v1.api.service_checks_api import ServiceChecksApi
from datadog_api_client.v1.model.dashboard import Dashboard
from datadog_api_client.v1.model.dashboard_layout_type import DashboardLayoutType
from datadog_api_client.v1.model.distribution_point import DistributionPoint
from datadog_api_client.v1.model.distribution_points_content_encoding import DistributionPointsContentEncoding
from datadog_api_client.v1.model.distribution_points_payload import DistributionPointsPayload
from datadog_api_client.v1.model.distribution_points_series import DistributionPointsSeries
from datadog_api_client.v1.model.event_create_request import EventCreateRequest
from datadog_api_client.v1.model.monitor import Monitor
from datadog_api_client.v1.model.monitor_type import MonitorType
from datadog_api_client.v1.model.note_widget_definition import NoteWidgetDefinition
from datadog_api_client.v1.model.note_widget_definition_type import NoteWidgetDefinitionType
from datadog_api_client.v1.model.service_check import ServiceCheck
from datadog_api_client.v1.model.service_check_status import ServiceCheckStatus
from datadog_api_client.v1.model.service_checks import ServiceChecks
from datadog_api_client.v1.model.widget import Widget
from datadog_api_client.v2.api.metrics_api import MetricsApi
from datadog_api_client.v2.model.metric_content_encoding import MetricContentEncoding
from datadog_api_client.v2.model.metric_intake_type import MetricIntakeType
from datadog_api_client.v2.model.metric_payload import MetricPayload
from datadog_api_client.v2.model.metric_point import MetricPoint
from datadog_api_client.v2.model.metric_resource import MetricResource
from datadog_api_client.v2.model.metric_series import MetricSeries

from tests.vendors.running import Vendor, start_vendor

APPLICATION_KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("datadog", tmp_path_factory.mktemp("vendors")) as running:
        yield running


@pytest.fixture
def vendor(shared: Vendor) -> Vendor:
    shared.reset()
    shared.clock()
    return shared


@pytest.fixture
def client(vendor: Vendor) -> Iterator[ApiClient]:
    configuration = Configuration(
        host=vendor.url, api_key={"apiKeyAuth": vendor.api_key, "appKeyAuth": APPLICATION_KEY}
    )
    with ApiClient(configuration) as client:
        yield client


def series(**changed: Any) -> dict[str, Any]:
    """A valid series, with these keys changed."""
    valid = {
        "metric": "predis_keys",
        "type": 3,
        "points": [{"timestamp": int(time.time()), "value": 1.5}],
        "tags": ["db:0"],
        "resources": [{"name": "here", "type": "host"}],
    }
    return {key: value for key, value in {**valid, **changed}.items() if value is not None}


def post(vendor: Vendor, value: Any, path: str = "/api/v2/series", **headers: str) -> tuple[int, Any]:
    """Send it as JSON, or as it is, and return status and body; header names have _ for -."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    given = {"Content-Type": "application/json", "DD-API-KEY": vendor.api_key}
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    request = urllib.request.Request(vendor.url + path, body, given)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("encoding", ["DEFLATE", "GZIP", "ZSTD1", None])
def test_series_of_the_own_client_are_taken(vendor: Vendor, client: ApiClient, encoding: str | None) -> None:
    now = int(time.time())
    resources = [MetricResource(name="here", type="host")]
    payload = MetricPayload(
        series=[
            MetricSeries(
                metric="predis_ops_total",
                type=MetricIntakeType.COUNT,
                interval=10,
                points=[MetricPoint(timestamp=now, value=7.0), MetricPoint(timestamp=now - 10, value=3.0)],
                tags=["command:get", "db:0"],
                resources=resources,
            ),
            MetricSeries(
                metric="predis_keys", type=MetricIntakeType.GAUGE, points=[MetricPoint(timestamp=now, value=1.5)]
            ),
        ]
    )
    options = {"content_encoding": getattr(MetricContentEncoding, encoding)} if encoding else {}
    answer = MetricsApi(client).submit_metrics(payload, **options)
    assert answer.errors == []
    assert vendor.violations(altered=True) == []
    first, second, third = vendor.received("series")
    assert (first.name, first.kind, first.interval, first.host) == ("predis_ops_total", "count", 10, "here")
    assert (first.tags, first.time, first.value) == ((("command", "get"), ("db", "0")), now, 7.0)
    assert (second.time, third.value) == (now - 10, 1.5)
    assert vendor.state()["sums"]["series predis_ops_total"] == [2, 10]


def test_distributions_checks_and_events_of_the_own_client_are_taken(vendor: Vendor, client: ApiClient) -> None:
    now = int(time.time())
    points = [DistributionPoint([float(now), [0.25, 0.5]])]
    MetricsApiV1(client).submit_distribution_points(
        DistributionPointsPayload(
            series=[DistributionPointsSeries(metric="predis_latency", points=points, tags=["a:b"])]
        ),
        content_encoding=DistributionPointsContentEncoding.DEFLATE,
    )
    check = ServiceCheck(check="predis.up", host_name="here", status=ServiceCheckStatus.OK, tags=["a:b"])
    ServiceChecksApi(client).submit_service_check(ServiceChecks([check]))
    EventsApi(client).create_event(EventCreateRequest(title="restarted", text="the cache was restarted", tags=["a:b"]))
    assert AuthenticationApi(client).validate().valid
    assert vendor.violations(altered=True) == []
    distribution, checked, event = vendor.received()
    assert (distribution.kind, distribution.time, distribution.value) == ("distribution", now, [0.25, 0.5])
    assert (checked.lane, checked.name, checked.value) == ("check", "predis.up", 0)
    assert (event.lane, event.name, event.value) == ("event", "restarted", "the cache was restarted")


def test_dashboards_and_monitors_of_the_own_client_are_kept(vendor: Vendor, client: ApiClient) -> None:
    note = NoteWidgetDefinition(content="hello", type=NoteWidgetDefinitionType.NOTE)
    board = Dashboard(title="Predis", layout_type=DashboardLayoutType.ORDERED, widgets=[Widget(definition=note)])
    made = DashboardsApi(client).create_dashboard(board)
    DashboardsApi(client).update_dashboard(made.id, board)
    assert DashboardsApi(client).get_dashboard(made.id).title == "Predis"
    query = "avg(last_5m):avg:predis_up{*} < 1"
    monitor = Monitor(name="down", type=MonitorType.METRIC_ALERT, query=query, message="it is down", tags=["by:predis"])
    MonitorsApi(client).validate_monitor(monitor)
    MonitorsApi(client).create_monitor(monitor)
    assert [found.query for found in MonitorsApi(client).list_monitors(monitor_tags="by:predis")] == [query]
    assert vendor.violations() == []
    with pytest.raises(ApiException) as refused:
        MonitorsApi(client).validate_monitor(Monitor(type=MonitorType.METRIC_ALERT, query="avg:predis_up{*} < 1"))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("metric_name", {"metric": "9lives"}),
        ("metric_name", {"metric": "predis-keys"}),
        ("metric_name", {"metric": "p" * 201}),
        ("type", {"type": 4}),
        ("type", {"type": "gauge"}),
        ("interval", {"type": 1}),
        ("interval", {"type": 1, "interval": 0}),
        ("interval", {"type": 1, "interval": 2.5}),
        ("schema", {"points": [[1, 2]]}),
        ("schema", {"points": []}),
        ("schema", {"host": "here"}),
        ("schema", {"resources": [{"host": "here"}]}),
        ("schema", {"tags": "db:0"}),
        ("timestamp", {"points": [{"timestamp": 1.5, "value": 1}]}),
        ("value", {"points": [{"timestamp": int(time.time()), "value": "1"}]}),
        ("value", {"points": [{"timestamp": int(time.time()), "value": True}]}),
        ("tag", {"tags": ["0:db"]}),
        ("tag", {"tags": ["a:" + "b" * 199]}),
        ("tag", {"tags": ["a:"]}),
        ("tag", {"tags": ["a:b", "a:b"]}),
    ],
)
def test_a_broken_rule_of_series_is_named_and_nothing_taken(vendor: Vendor, code: str, changed: dict[str, Any]) -> None:
    status, body = post(vendor, {"series": [series(), series(**changed)]})
    assert status == 400
    assert len(body["errors"]) >= 1
    assert code in {violation["code"] for violation in vendor.violations()}
    assert vendor.received() == []


def test_ages_go_by_the_clock_that_a_test_sets(vendor: Vendor) -> None:
    vendor.clock(offset=-7200)
    old = series(points=[{"timestamp": int(time.time()) - 7200, "value": 1}])
    assert post(vendor, {"series": [old]})[0] == 202
    assert len(vendor.received()) == 1
    vendor.clock()
    assert post(vendor, {"series": [old]})[0] == 202
    assert [violation["code"] for violation in vendor.violations()] == ["too_old"]


@pytest.mark.parametrize(("code", "age"), [("too_old", 3700), ("too_new", -700)])
def test_points_of_a_wrong_age_are_dropped_behind_a_202(vendor: Vendor, code: str, age: int) -> None:
    wrong = series(metric="wrong", points=[{"timestamp": int(time.time()) - age, "value": 1}])
    assert post(vendor, {"series": [wrong, series()]})[0] == 202
    assert [violation["code"] for violation in vendor.violations()] == [code]
    assert [point.name for point in vendor.received()] == ["predis_keys"]


def test_what_is_taken_but_changed_is_told_apart(vendor: Vendor) -> None:
    twice = [{"timestamp": int(time.time()), "value": value} for value in (1, 2)]
    assert post(vendor, {"series": [series(tags=["gpu:NVIDIA H100"]), series(metric="other", points=twice)]})[0] == 202
    assert [violation["code"] for violation in vendor.violations()] == ["duplicate"]
    assert [violation["code"] for violation in vendor.violations(altered=True)] == ["tag_altered", "duplicate"]


@pytest.mark.parametrize(
    ("status", "code", "body", "headers"),
    [
        (403, "api_key", {"series": [series()]}, {"DD_API_KEY": "f" * 32}),
        (415, "content_type", {"series": [series()]}, {"Content_Type": "text/plain"}),
        (400, "content_encoding", b"x", {"Content_Encoding": "br"}),
        (400, "compression", b"no gzip", {"Content_Encoding": "gzip"}),
        (413, "wire_bytes", b" " * 512_001, {}),
        (413, "raw_bytes", zlib.compress(b" " * 5_242_880), {"Content_Encoding": "deflate"}),
        (400, "json", b'{"series": [NaN]}', {}),
        (400, "json", b'{"series": [], "series": []}', {}),
        (400, "schema", {"series": []}, {}),
        (400, "schema", [series()], {}),
    ],
)
def test_a_broken_rule_of_the_request_is_named(
    vendor: Vendor, status: int, code: str, body: Any, headers: dict[str, str]
) -> None:
    assert post(vendor, body, **headers)[0] == status
    assert [violation["code"] for violation in vendor.violations()] == [code]


def test_a_key_in_the_url_and_an_unknown_path_are_named(vendor: Vendor) -> None:
    assert post(vendor, {"series": [series()]}, f"/api/v2/series?api_key={vendor.api_key}")[0] == 403
    assert post(vendor, {}, "/api/v1/serie")[0] == 404
    assert [violation["code"] for violation in vendor.violations()] == ["key_in_url", "path"]


@pytest.mark.parametrize(
    ("path", "code", "value"),
    [
        ("/api/v1/distribution_points", "schema", {"series": [{"metric": "a", "points": [[1, 2.0]]}]}),
        ("/api/v1/distribution_points", "value", {"series": [{"metric": "a", "points": [[1, ["2"]]]}]}),
        ("/api/v1/distribution_points", "too_old", {"series": [{"metric": "a", "points": [[1, [2]]]}]}),
        ("/api/v1/check_run", "schema", {"check": "a", "status": 0, "tags": []}),
        ("/api/v1/check_run", "status", {"check": "a", "status": 4, "tags": [], "host_name": "h"}),
        ("/api/v1/events", "schema", {"title": "a"}),
        ("/api/v1/events", "length", {"title": "a", "text": "b" * 4001}),
        ("/api/v1/events", "alert_type", {"title": "a", "text": "b", "alert_type": "critical"}),
        ("/api/v1/events", "too_old", {"title": "a", "text": "b", "date_happened": int(time.time()) - 70_000}),
    ],
)
def test_broken_rules_of_the_other_intakes_are_named(vendor: Vendor, path: str, code: str, value: Any) -> None:
    assert post(vendor, value, path)[0] == (202 if code == "too_old" else 400)
    assert code in {violation["code"] for violation in vendor.violations()}
    assert vendor.received() == []


def test_distributions_take_deflate_alone(vendor: Vendor) -> None:
    value = {"series": [{"metric": "a", "points": [[int(time.time()), [1, 2]]]}]}
    body = zlib.compress(json.dumps(value).encode())
    assert post(vendor, body, "/api/v1/distribution_points", Content_Encoding="deflate")[0] == 202
    assert post(vendor, body, "/api/v1/distribution_points", Content_Encoding="gzip")[0] == 400
    assert [violation["code"] for violation in vendor.violations()] == ["content_encoding"]


def test_the_log_of_the_process_keeps_no_key(vendor: Vendor, tmp_path: Path) -> None:
    post(vendor, {"series": [series()]})
    assert vendor.api_key not in json.dumps(vendor.requests())
