"""Installs the dashboard and the alarms. Both have names in CloudWatch, and putting one of a name replaces it.

The dashboard shows all machines of the account and region that export to the namespace. An alarm watches metrics with
exact dimensions, so each machine has its own, and installs them from where it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.api import Asset, VendorError
from plugins.cloudwatch.encode import dimension

FOLDER = Path(__file__).parent / "dashboards"
_SCHEMA = "{Predis,host"
"""How the searches of the shipped dashboard begin: the namespace, and the dimension of every metric."""
_ACTIONS = ("AlarmActions", "OKActions", "InsufficientDataActions")


class CloudWatchDashboards:
    """The assets of this folder for a namespace whose metrics all have the dimensions `constant`.

    `no_credentials` is what to do where there are none.
    """

    vendor = "cloudwatch"

    def __init__(self, client: Any, namespace: str, constant: Mapping[str, str], no_credentials: str = "") -> None:
        self._client, self._namespace = client, namespace
        self._mend = no_credentials or "credentials come from the AWS SDK's chain, as AWS_PROFILE"
        self._constant = {name: dimension(value) for name, value in constant.items() if value}

    @property
    def where(self) -> str:
        return f"{self._client.meta.endpoint_url}, region {self._client.meta.region_name}, namespace {self._namespace}"

    def assets(self) -> Sequence[Asset]:
        overview, alarms = FOLDER / "overview.json", FOLDER / "alarms.json"
        name = re.sub(r"[^\w-]", "-", self._namespace, flags=re.ASCII)
        found = [Asset("dashboard", name, name, overview, self._dashboard(overview.read_text(encoding="utf-8")))]
        for alarm in json.loads(alarms.read_text(encoding="utf-8")):
            key = "/".join((alarm["AlarmName"], self._namespace, *self._constant.values()))[:255]
            found.append(Asset("alarm", key, key, alarms, self._alarm(alarm, key)))
        return found

    def find(self, asset: Asset) -> str | None:
        if asset.kind == "alarm":
            return asset.key if self._existing(asset.key) else None
        listed = self._asked(lambda: self._client.list_dashboards(DashboardNamePrefix=asset.key))["DashboardEntries"]
        return asset.key if any(entry["DashboardName"] == asset.key for entry in listed) else None

    def put(self, asset: Asset, found: str | None) -> str:
        if asset.kind == "dashboard":
            body = json.dumps(asset.body)
            put = lambda: self._client.put_dashboard(DashboardName=asset.key, DashboardBody=body)  # noqa: E731
            messages = self._asked(put).get("DashboardValidationMessages") or ()
            if messages:
                raise VendorError("; ".join(str(message.get("Message")) for message in messages))
            return asset.key
        before = self._existing(asset.key) or {}
        # Whom it tells is set there; putting it without would make it silent.
        kept = {name: before[name] for name in _ACTIONS if before.get(name)}
        self._asked(lambda: self._client.put_metric_alarm(**asset.body, **kept))
        return asset.key

    def close(self) -> None:
        self._client.close()

    def _existing(self, name: str) -> dict[str, Any] | None:
        found = self._asked(lambda: self._client.describe_alarms(AlarmNames=[name]))["MetricAlarms"]
        return dict(found[0]) if found else None

    def _dashboard(self, text: str) -> dict[str, Any]:
        plain = re.fullmatch(r"[\w.-]+", self._namespace, re.ASCII)
        namespace = self._namespace if plain else f'"{self._namespace}"'
        schema = "{" + ",".join((namespace, *map(_dimension, self._constant)))
        body: dict[str, Any] = json.loads(text)
        for widget in body["widgets"]:
            widget["properties"]["region"] = self._client.meta.region_name
            for (metric,) in widget["properties"]["metrics"]:
                metric["expression"] = metric["expression"].replace(_SCHEMA, schema)
        return body

    def _alarm(self, alarm: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The shipped alarm under its name here, on this machine's metrics."""
        where = [{"Name": key, "Value": value} for key, value in self._constant.items()]
        filled: dict[str, Any] = {**alarm, "AlarmName": name}
        if "Metrics" not in filled:
            return {**filled, "Namespace": self._namespace, "Dimensions": where}
        filled["Metrics"] = [dict(query) for query in filled["Metrics"]]
        for query in filled["Metrics"]:
            if "MetricStat" in query:
                metric = {**query["MetricStat"]["Metric"], "Namespace": self._namespace, "Dimensions": where}
                query["MetricStat"] = {**query["MetricStat"], "Metric": metric}
        return filled

    def _asked(self, call: Callable[[], Any]) -> Any:
        from botocore import exceptions

        try:
            return call()
        except exceptions.ClientError as error:
            told = error.response.get("Error", {})
            raise VendorError(f"{error.operation_name}: {told.get('Code')}: {told.get('Message')}") from None
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise VendorError(f"{error}; {self._mend}") from None
        except exceptions.BotoCoreError as error:
            raise VendorError(str(error)) from None


def _dimension(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else f'"{name}"'
