"""`predis-agent dashboards install` against strict fakes: twice makes nothing twice, a dry run nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from agent.config import load_config
from agent.dashboards.install import install, offered
from agent.plugin.manager import PluginManager
from tests.servers import ROOT, free_port
from tests.vendors.running import Vendor, start_vendor

APP_KEY = "ddapp_0123456789012345678901234567890123456789"
USER_KEY = "NRAK-ABCDEFGHIJ0123456789ABCDEF0"
VENDORS = ("grafana", "datadog", "newrelic", "cloudwatch")
SECRETS = (APP_KEY, USER_KEY)
AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
}


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Vendor]]:
    folder = tmp_path_factory.mktemp("vendors")
    started = {name: start_vendor(name, folder) for name in VENDORS}
    yield started
    for vendor in started.values():
        vendor.stop()


def table(vendor: Vendor) -> str:
    """What agent.toml says for a vendor; keys come from the environment."""
    return {
        "grafana": f'[plugins.prometheus]\ngrafana_url = "{vendor.url}"\ngrafana_token = "${{env:GRAFANA_TOKEN}}"\n',
        "datadog": f'[plugins.datadog]\nenabled = true\nendpoint = "{vendor.url}"\napi_key = "{vendor.api_key}"\n'
        'app_key = "${env:DD_APP_KEY}"\n',
        "newrelic": f'[plugins.newrelic]\nenabled = true\nendpoint = "{vendor.url}"\nlicense_key = "{vendor.api_key}"\n'
        'user_key = "${env:NEW_RELIC_API_KEY}"\naccount_id = "12345"\n',
        "cloudwatch": f'[plugins.cloudwatch]\nenabled = true\nendpoint = "{vendor.url}"\nregion = "eu-west-1"\n'
        'namespace = "Our Caches"\ndimensions = { host = "box", stage = "test" }\n',
    }[vendor.name]


def command(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "predis-agent"), "dashboards", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb", **AWS, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )


def run(folder: Path, vendor: Vendor, *more: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (folder / "agent.toml").write_text(table(vendor))
    keys = {"DD_APP_KEY": APP_KEY, "NEW_RELIC_API_KEY": USER_KEY, "GRAFANA_TOKEN": vendor.api_key, **environ}
    done = command(folder, "install", vendor.name, *more, **keys)
    for secret in (*SECRETS, *filter(None, [vendor.api_key])):
        assert secret not in done.stdout + done.stderr
    return done


def counts(vendor: Vendor) -> dict[str, int]:
    return {kind: len(things) for kind, things in vendor.assets().items()}


@pytest.mark.parametrize("name", VENDORS)
def test_a_dry_run_makes_nothing_and_an_installation_makes_nothing_twice(
    vendors: dict[str, Vendor], tmp_path: Path, name: str
) -> None:
    vendor = vendors[name]
    # given a dry run, which says what would come
    dry = run(tmp_path, vendor, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "would be created" in dry.stdout
    assert set(counts(vendor).values()) == {0}
    # when it is installed
    first = run(tmp_path, vendor)
    assert first.returncode == 0, first.stderr
    lines = [line.split()[0] for line in first.stdout.splitlines()[1:]]
    assert lines.count("created") == dry.stdout.count("would be created") > 0
    made, things = counts(vendor), vendor.assets()
    assert sum(made.values()) == lines.count("created")
    # and again
    second = run(tmp_path, vendor)
    assert second.returncode == 0, second.stderr
    # then all of it was updated, and there is no more than before
    assert "created" not in second.stdout
    assert second.stdout.count("updated") == lines.count("created")
    assert counts(vendor) == made
    assert {kind: list(found) for kind, found in vendor.assets().items()} == {k: list(v) for k, v in things.items()}
    assert "would be updated" in run(tmp_path, vendor, "--dry-run").stdout
    assert vendor.violations(altered=True) == []


@pytest.mark.parametrize(
    ("name", "plugin", "more"),
    [
        ("grafana", "prometheus", ()),
        ("datadog", "datadog", ()),
        ("cloudwatch", "cloudwatch", ("--set", 'plugins.cloudwatch.pass_environment=["AWS_SECRET_ACCESS_KEY"]')),
    ],
    ids=["grafana", "datadog", "cloudwatch"],
)
def test_plugins_with_a_process_of_their_own_install_the_same(
    vendors: dict[str, Vendor], tmp_path: Path, name: str, plugin: str, more: tuple[str, ...]
) -> None:
    vendor, isolated = vendors[name], ("--set", f"plugins.{plugin}.isolation=process", *more)
    here = run(tmp_path, vendor)
    assert here.returncode == 0, here.stderr
    made = counts(vendor)
    there = run(tmp_path, vendor, *isolated)
    assert there.returncode == 0, there.stderr
    assert there.stdout == run(tmp_path, vendor).stdout
    assert counts(vendor) == made
    assert vendor.violations(altered=True) == []
    shown = command(tmp_path, "list", "--json", *isolated, DD_APP_KEY=APP_KEY, GRAFANA_TOKEN="t")
    assert shown.returncode == 0, shown.stderr
    assert [one["vendor"] for one in json.loads(shown.stdout)].count(name) >= sum(made.values())


def test_keys_that_a_process_of_its_own_does_not_get_are_told(vendors: dict[str, Vendor], tmp_path: Path) -> None:
    done = run(tmp_path, vendors["cloudwatch"], "--set", "plugins.cloudwatch.isolation=process")
    assert done.returncode == 1
    assert "missing: AWS_SECRET_ACCESS_KEY" in done.stderr
    assert 'pass_environment = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] into [plugins.cloudwatch]' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_grafana_keeps_the_folder_and_opens_with_the_data_source(vendors: dict[str, Vendor], tmp_path: Path) -> None:
    vendor = vendors["grafana"]
    chosen = ("--set", "plugins.prometheus.grafana_folder=caches", "--set", "plugins.prometheus.grafana_datasource=abc")
    assert run(tmp_path, vendor, *chosen).returncode == 0
    done = run(tmp_path, vendor, "--set", "plugins.prometheus.grafana_datasource=abc")
    assert f"{vendor.url}/d/predis-overview/" in done.stdout
    assert "by hand" in done.stdout
    (saved,) = vendor.assets()["dashboards"].values()
    assert saved["folder"] == "caches"
    (variable,) = (one for one in saved["dashboard"]["templating"]["list"] if one["type"] == "datasource")
    assert variable["current"] == {"text": "abc", "value": "abc"}


def test_new_relics_queries_have_the_account(vendors: dict[str, Vendor], tmp_path: Path) -> None:
    vendor = vendors["newrelic"]
    assert run(tmp_path, vendor).returncode == 0
    assets = vendor.assets()
    (dashboard,) = assets["dashboards"].values()
    widgets = [widget for page in dashboard["pages"] for widget in page["widgets"]]
    assert {
        tuple(query["accountIds"]) for widget in widgets for query in widget["rawConfiguration"]["nrqlQueries"]
    } == {(12345,)}
    (policy,) = assets["policies"].values()
    assert {condition["policyId"] for condition in assets["conditions"].values()} == {policy["id"]}


def test_whom_datadogs_monitor_and_cloudwatchs_alarm_tell_is_kept(vendors: dict[str, Vendor], tmp_path: Path) -> None:
    from datadog_api_client import ApiClient, Configuration
    from datadog_api_client.v1.api.monitors_api import MonitorsApi
    from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest

    # given installed monitors and alarms, of which people have set whom they tell
    datadog, cloudwatch = vendors["datadog"], vendors["cloudwatch"]
    assert run(tmp_path, datadog).returncode == run(tmp_path, cloudwatch).returncode == 0
    keys = {"apiKeyAuth": datadog.api_key, "appKeyAuth": APP_KEY}
    number = int(next(iter(datadog.assets()["monitors"])))
    with ApiClient(Configuration(host=datadog.url, api_key=keys)) as client:
        message = "It is down. @slack-caches @on.call@example.com"
        MonitorsApi(client).update_monitor(number, MonitorUpdateRequest(message=message))
    client = boto3.client(
        "cloudwatch",
        endpoint_url=cloudwatch.url,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    alarms = client.describe_alarms()["MetricAlarms"]
    topic = "arn:aws:sns:eu-west-1:123456789012:caches"
    alarm = next(alarm for alarm in alarms if "MetricName" in alarm)
    taken = ("AlarmName", "MetricName", "Namespace", "Dimensions", "Statistic", "Period", "EvaluationPeriods")
    settings = {key: alarm[key] for key in (*taken, "Threshold", "ComparisonOperator")}
    client.put_metric_alarm(**settings, AlarmActions=[topic])
    # when they are installed again
    assert run(tmp_path, datadog).returncode == run(tmp_path, cloudwatch).returncode == 0
    # then they still tell them, with our text
    monitor = datadog.assets()["monitors"][str(number)]
    assert monitor["message"].endswith("@slack-caches @on.call@example.com")
    assert monitor["message"].startswith("The cache process has given no sign of life")
    (after,) = client.describe_alarms(AlarmNames=[alarm["AlarmName"]])["MetricAlarms"]
    assert after["AlarmActions"] == [topic]
    assert after["AlarmDescription"] == alarm["AlarmDescription"]


def test_cloudwatchs_searches_and_alarms_fit_the_namespace_and_the_dimensions(
    vendors: dict[str, Vendor], tmp_path: Path
) -> None:
    vendor = vendors["cloudwatch"]
    assert run(tmp_path, vendor).returncode == 0
    (body,) = vendor.assets()["dashboards"].values()
    for widget in body["widgets"]:
        assert widget["properties"]["region"] == "eu-west-1"
        for (metric,) in widget["properties"]["metrics"]:
            assert metric["expression"].startswith("""SEARCH('{"Our Caches",host,stage""")
    where = [{"Name": "host", "Value": "box"}, {"Name": "stage", "Value": "test"}]
    for name, alarm in vendor.assets()["alarms"].items():
        assert name.endswith("/Our Caches/box/test")
        metrics = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", ()) if "MetricStat" in query]
        for metric in metrics or [alarm]:
            assert (metric["Namespace"], metric["Dimensions"]) == ("Our Caches", where)


@pytest.mark.parametrize("name", VENDORS)
def test_a_vendor_that_says_no_is_a_sentence(vendors: dict[str, Vendor], tmp_path: Path, name: str) -> None:
    vendor = vendors[name]
    before = counts(vendor)
    wrong = {"DD_APP_KEY": "wrong", "NEW_RELIC_API_KEY": "wrong", "GRAFANA_TOKEN": "wrong"}
    done = run(tmp_path, vendor, "--url", vendor.nowhere if name == "cloudwatch" else vendor.url, **wrong)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name}, dashboard")
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1000
    assert ("key right" in done.stderr or "organisation" in done.stderr) == (name != "cloudwatch"), done.stderr
    assert counts(vendor) == before


@pytest.mark.parametrize(
    ("name", "key"),
    [("grafana", "grafana_token"), ("datadog", "app_key"), ("newrelic", "user_key"), ("newrelic", "account_id")],
)
def test_what_is_missing_in_the_configuration_is_named(
    vendors: dict[str, Vendor], tmp_path: Path, name: str, key: str
) -> None:
    plugin = "prometheus" if name == "grafana" else name
    done = run(tmp_path, vendors[name], "--dry-run", "--set", f'plugins.{plugin}.{key}=""')
    assert done.returncode == 1
    assert f"{key} is missing" in done.stderr


def test_an_unknown_vendor_and_a_disabled_one_are_told_from_each_other(tmp_path: Path) -> None:
    unknown = command(tmp_path, "install", "datadgo")
    assert unknown.returncode == 1
    assert "no dashboards for 'datadgo': enabled plugins have some for grafana" in unknown.stderr
    assert "plugins.datadog.enabled is false" in command(tmp_path, "install", "datadog").stderr


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://grafana", "https://me:pass@grafana", "https://?a=b"])
def test_an_address_that_is_none_is_told_before_anything_is_done(tmp_path: Path, url: str) -> None:
    done = command(tmp_path, "install", "grafana", "--url", url)
    assert done.returncode == 1
    assert done.stderr.startswith("--url")
    assert "write https://HOST:PORT" in done.stderr


def test_a_plugin_that_cannot_be_set_up_says_why(tmp_path: Path) -> None:
    done = command(tmp_path, "install", "cloudwatch", "--set", "plugins.cloudwatch.enabled=true", AWS_REGION="")
    assert done.returncode == 1
    assert "set [plugins.cloudwatch] region" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", VENDORS)
def test_nobody_at_the_address_is_a_sentence(vendors: dict[str, Vendor], tmp_path: Path, name: str) -> None:
    done = run(tmp_path, vendors[name], "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "refused" in done.stderr or "Could not connect" in done.stderr


def test_the_list_names_files_that_are_there(vendors: dict[str, Vendor], tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("".join(table(vendor) for vendor in vendors.values()))
    done = command(tmp_path, "list", "--json", DD_APP_KEY="", NEW_RELIC_API_KEY="", GRAFANA_TOKEN="")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert {one["vendor"] for one in listed} == set(VENDORS)
    assert {one["kind"] for one in listed} >= {"dashboard", "monitor", "alarm", "alert condition", "alert rules"}
    assert all(Path(one["file"]).is_file() for one in listed)


def test_the_page_tells_how_many_there_are(vendors: dict[str, Vendor], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    (tmp_path / "agent.toml").write_text("".join(table(vendor) for vendor in vendors.values()))
    listed = json.loads(
        command(tmp_path, "list", "--json", DD_APP_KEY="", NEW_RELIC_API_KEY="", GRAFANA_TOKEN="").stdout
    )
    words = {"monitor": (10, "ten monitors"), "alert condition": (7, "seven alert"), "alarm": (4, "four alarms")}
    for kind, (number, told) in words.items():
        assert [one["kind"] for one in listed].count(kind) == number
        assert told in page


def test_an_installation_that_breaks_off_says_what_is_done(vendors: dict[str, Vendor], tmp_path: Path) -> None:
    """Each outcome comes before the next asset is begun, so that what was done is known."""
    (tmp_path / "agent.toml").write_text(table(vendors["grafana"]).replace("${env:GRAFANA_TOKEN}", "x"))
    manager = PluginManager(load_config(tmp_path / "agent.toml", (), {}))
    manager.load()
    found, errors = offered(manager)
    assert errors == []
    shipped: Any = found["grafana"]
    dashboard, rules = shipped.assets()
    shipped.assets = lambda: [rules, dashboard]
    outcomes = install(shipped, dry_run=True)
    assert next(outcomes).done == "by hand"
    shipped.close()
