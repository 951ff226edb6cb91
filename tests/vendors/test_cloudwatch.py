"""The proxy before moto takes what boto3 sends, and names every rule that moto lets pass."""

import datetime
import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.vendors.cloudwatch import query_form
from tests.vendors.faults import status
from tests.vendors.running import Vendor, start_vendor


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("cloudwatch", tmp_path_factory.mktemp("vendors")) as running:
        yield running


@pytest.fixture
def vendor(shared: Vendor) -> Vendor:
    shared.reset()
    return shared


@pytest.fixture
def client(vendor: Vendor) -> Any:
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return boto3.client(
        "cloudwatch",
        endpoint_url=vendor.url,
        region_name="eu-west-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=config,
    )


def datum(**changed: Any) -> dict[str, Any]:
    """A valid datum, with these keys changed; None leaves a key out."""
    valid = {
        "MetricName": "predis_keys",
        "Timestamp": datetime.datetime.now(datetime.UTC),
        "Value": 1.5,
        "Unit": "Count",
        "Dimensions": [{"Name": "db", "Value": "0"}],
    }
    return {key: value for key, value in {**valid, **changed}.items() if value is not None}


def test_what_boto3_sends_is_taken_and_moto_has_it(vendor: Vendor, client: Any) -> None:
    values = datum(MetricName="predis_latency", Value=None, Values=[0.1, 0.2], Counts=[3, 4], Unit="Seconds")
    client.put_metric_data(Namespace="Predis", MetricData=[datum(), values])
    assert vendor.violations() == []
    first, second = vendor.received()
    assert (first.lane, first.name, first.tags, first.value) == ("Predis", "predis_keys", (("db", "0"),), 1.5)
    assert abs(first.time - time.time()) < 60
    assert second.value == {"values": [0.1, 0.2], "counts": [3, 4], "count": 7}
    listed = client.list_metrics(Namespace="Predis")["Metrics"]
    assert {metric["MetricName"] for metric in listed} == {"predis_keys", "predis_latency"}


def test_a_thousand_metrics_come_compressed_and_a_thousand_and_one_are_refused(vendor: Vendor, client: Any) -> None:
    data = [datum(MetricName=f"metric_{number}") for number in range(1001)]
    client.put_metric_data(Namespace="Predis", MetricData=data[:1000])
    assert vendor.requests()[-1]["encoding"] == "gzip"
    assert len(vendor.received()) == 1000
    with pytest.raises(ClientError) as refused:
        client.put_metric_data(Namespace="Predis", MetricData=data)
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert [violation["code"] for violation in vendor.violations()] == ["metrics"]
    assert len(vendor.received()) == 1000


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("values", {"Value": None, "Values": [float(number) for number in range(151)]}),
        ("values", {"Value": None, "Values": [1.0, 1.0]}),
        ("counts", {"Value": None, "Values": [1.0, 2.0], "Counts": [1.0]}),
        ("counts", {"Value": None, "Values": [1.0], "Counts": [0.0]}),
        ("combination", {"Values": [1.0]}),
        ("combination", {"Value": None}),
        ("dimensions", {"Dimensions": [{"Name": f"n{number}", "Value": "v"} for number in range(31)]}),
        ("dimensions", {"Dimensions": [{"Name": "n", "Value": "v"}, {"Name": "n", "Value": "w"}]}),
        ("dimension", {"Dimensions": [{"Name": ":n", "Value": "v"}]}),
        ("dimension", {"Dimensions": [{"Name": "n", "Value": ""}]}),
        ("dimension", {"Dimensions": [{"Name": "n", "Value": " "}]}),
        ("dimension", {"Dimensions": [{"Name": "n", "Value": "vä"}]}),
        ("dimension", {"Dimensions": [{"Name": "n", "Value": "v" * 1025}]}),
        ("value", {"Value": float("nan")}),
        ("value", {"Value": float("inf")}),
        ("value", {"Value": 2.0**361}),
        ("unit", {"Unit": "seconds"}),
        ("resolution", {"StorageResolution": 10}),
        ("metric_name", {"MetricName": "m" * 256}),
        ("too_old", {"Timestamp": datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=15)}),
        ("too_new", {"Timestamp": datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=3)}),
    ],
)
def test_a_broken_rule_of_a_metric_is_named(vendor: Vendor, client: Any, code: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        client.put_metric_data(Namespace="Predis", MetricData=[datum(**changed)])
    found = {violation["code"] for violation in vendor.violations()}
    assert found == {code} or (code == "value" and found == {"json"})
    assert vendor.received() == []


def test_a_namespace_of_amazon_and_a_body_too_large_are_refused(vendor: Vendor, client: Any) -> None:
    with pytest.raises(ClientError):
        client.put_metric_data(Namespace="AWS/EC2", MetricData=[datum()])
    large = [datum(MetricName=f"m{n}", Dimensions=[{"Name": "n", "Value": "v" * 1024}]) for n in range(1000)]
    with pytest.raises(ClientError) as refused:
        client.put_metric_data(Namespace="Predis", MetricData=large)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert [violation["code"] for violation in vendor.violations()] == ["namespace", "raw_bytes"]


def test_the_query_form_of_older_botocores_is_taken(vendor: Vendor) -> None:
    flat = {
        "Namespace": "Predis",
        "MetricData.member.1.MetricName": "predis_keys",
        "MetricData.member.1.Value": "1.5",
        "MetricData.member.1.Timestamp": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "MetricData.member.1.Dimensions.member.1.Name": "db",
        "MetricData.member.1.Dimensions.member.1.Value": "0",
        "MetricData.member.2.MetricName": "predis_latency",
        "MetricData.member.2.Values.member.1": "0.5",
        "MetricData.member.2.Values.member.2": "1",
        "MetricData.member.2.Unit": "Seconds",
    }
    assert signed(vendor, query_form("PutMetricData", flat)).status == 200
    first, second = vendor.received()
    assert (first.name, first.tags, first.value) == ("predis_keys", (("db", "0"),), 1.5)
    assert second.value["values"] == [0.5, 1.0]
    refused = signed(vendor, query_form("PutMetricData", {**flat, "MetricData.member.1.Value": "NaN"}))
    assert refused.status == 400
    assert b"<Code>InvalidParameterValue</Code>" in refused.data
    assert [violation["code"] for violation in vendor.violations()] == ["value"]


def test_a_request_without_signature_is_refused(vendor: Vendor) -> None:
    body = gzip.compress(json.dumps({"Namespace": "Predis"}).encode())
    answer = urllib3.request("POST", vendor.url, body=body, headers={"Content-Type": "application/x-amz-json-1.0"})
    assert answer.status == 403
    assert [violation["code"] for violation in vendor.violations()] == ["signature"]


def test_throttling_has_amazons_code(vendor: Vendor, client: Any) -> None:
    vendor.script([status(400, code="Throttling")])
    with pytest.raises(ClientError) as refused:
        client.put_metric_data(Namespace="Predis", MetricData=[datum()])
    assert refused.value.response["Error"]["Code"] == "Throttling"
    assert vendor.violations() == []


def test_dashboards_and_alarms_are_checked_and_kept(vendor: Vendor, client: Any) -> None:
    widget = {"type": "metric", "width": 12, "properties": {"region": "eu-west-1", "metrics": [["Predis", "keys"]]}}
    client.put_dashboard(DashboardName="Predis", DashboardBody=json.dumps({"widgets": [widget]}))
    assert json.loads(client.get_dashboard(DashboardName="Predis")["DashboardBody"]) == {"widgets": [widget]}
    alarm = {
        "AlarmName": "down",
        "MetricName": "predis_up",
        "Namespace": "Predis",
        "Statistic": "Minimum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "LessThanThreshold",
    }
    client.put_metric_alarm(**alarm)
    assert client.describe_alarms()["MetricAlarms"][0]["AlarmName"] == "down"
    assert vendor.violations() == []
    assert (list(vendor.assets()["dashboards"]), list(vendor.assets()["alarms"])) == (["Predis"], ["down"])
    with pytest.raises(ClientError):
        client.put_metric_alarm(**{**alarm, "Period": 45})
    with pytest.raises(ClientError):
        client.put_dashboard(DashboardName="a b", DashboardBody="{}")
    assert {violation["code"] for violation in vendor.violations()} == {"alarm", "dashboard"}


def signed(vendor: Vendor, body: bytes) -> urllib3.BaseHTTPResponse:
    """A POST in the query form, signed by botocore."""
    headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest("POST", vendor.url + "/", data=body, headers=headers)
    SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "monitoring", "eu-west-1").add_auth(request)
    return urllib3.request("POST", vendor.url + "/", body=body, headers=dict(request.headers))
