"""Installs the dashboard and the monitors, through Datadog's own client.

Datadog gives both their ids. So a dashboard is found by a mark in its description, which lists of dashboards show, and
a monitor by a tag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.api import Asset, VendorError

FOLDER = Path(__file__).parent / "dashboards"
_TAG = "predis_monitor:"
_MENTION = re.compile(r"(?<![\w.])@[\w.@+/-]*\w")
_LONGEST = 300  # characters of an answer that are shown


class DatadogDashboards:
    """The assets of this folder at the organisation of two keys, which stand in headers and nowhere else."""

    vendor = "datadog"

    def __init__(self, url: str, api_key: str, app_key: str, timeout: float, ca_file: Path | None) -> None:
        self._url, self._keys, self._timeout, self._ca_file = url.rstrip("/"), (api_key, app_key), timeout, ca_file
        self._client: Any = None

    @property
    def where(self) -> str:
        return self._url

    def assets(self) -> Sequence[Asset]:
        overview, monitors = FOLDER / "overview.json", FOLDER / "monitors.json"
        dashboard = json.loads(overview.read_text(encoding="utf-8"))
        found = [Asset("dashboard", mark_of(dashboard["description"]), dashboard["title"], overview, dashboard)]
        for monitor in json.loads(monitors.read_text(encoding="utf-8")):
            (key,) = (tag for tag in monitor["tags"] if tag.startswith(_TAG))
            found.append(Asset("monitor", key, monitor["name"], monitors, monitor))
        return found

    def find(self, asset: Asset) -> str | None:
        if asset.kind == "dashboard":
            for dashboard in self._asked(lambda: list(self._dashboards().list_dashboards_with_pagination())):
                if asset.key in str(dashboard.get("description") or ""):
                    return str(dashboard.id)
            return None
        monitors = self._asked(lambda: self._monitors().list_monitors(monitor_tags=asset.key))
        return str(monitors[0].id) if monitors else None

    def put(self, asset: Asset, found: str | None) -> str:
        if asset.kind == "dashboard":
            from datadog_api_client.v1.model.dashboard import Dashboard

            body = self._model(asset.body, Dashboard)
            if found is None:
                found = str(self._asked(lambda: self._dashboards().create_dashboard(body)).id)
            else:
                self._asked(lambda: self._dashboards().update_dashboard(found, body))
            return f"/dashboard/{found}"
        return f"/monitors/{self._put_monitor(asset, found)}"

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _put_monitor(self, asset: Asset, found: str | None) -> str:
        from datadog_api_client.v1.model.monitor import Monitor
        from datadog_api_client.v1.model.monitor_update_request import MonitorUpdateRequest

        if found is None:
            body = self._model(asset.body, Monitor)
            return str(self._asked(lambda: self._monitors().create_monitor(body)).id)
        number = int(found)
        message = str(self._asked(lambda: self._monitors().get_monitor(number)).message)
        # Whom it tells is written into the message there; a new version of ours must not make it silent.
        kept = [name for name in dict.fromkeys(_MENTION.findall(message)) if name not in asset.body["message"]]
        changed = {**asset.body, "message": " ".join([asset.body["message"], *kept])}
        change = self._model(changed, MonitorUpdateRequest)
        self._asked(lambda: self._monitors().update_monitor(number, change))
        return found

    def _model(self, body: Any, model: Any) -> Any:
        return self._api().deserialize(json.dumps(body), (model,), True)

    def _dashboards(self) -> Any:
        from datadog_api_client.v1.api.dashboards_api import DashboardsApi

        return DashboardsApi(self._api())

    def _monitors(self) -> Any:
        from datadog_api_client.v1.api.monitors_api import MonitorsApi

        return MonitorsApi(self._api())

    def _api(self) -> Any:
        if self._client is None:
            from datadog_api_client import ApiClient, Configuration

            api_key, app_key = self._keys
            if not app_key:
                mend = (
                    'write app_key = "${env:DD_APP_KEY}" into [plugins.datadog]: an application key of the organisation'
                )
                raise VendorError(f"app_key is missing; {mend}")
            configuration = Configuration(
                host=self._url,
                api_key={"apiKeyAuth": api_key, "appKeyAuth": app_key},
                request_timeout=self._timeout,
                ssl_ca_cert=None if self._ca_file is None else str(self._ca_file),
                enable_retry=False,
            )
            self._client = ApiClient(configuration)
        return self._client

    def _asked(self, call: Callable[[], Any]) -> Any:
        """What the client gives; its errors in our words, since its own show all headers of the answer."""
        import urllib3
        from datadog_api_client.exceptions import ApiException, OpenApiException

        try:
            return call()
        except ApiException as error:
            raise VendorError(self._said(error)) from None
        except (OpenApiException, urllib3.exceptions.HTTPError, OSError) as error:
            text = " ".join(str(getattr(error, "reason", error)).split())[:_LONGEST]  # urllib3's is wrapped twice
            raise VendorError(f"{self._url} gave no answer that Datadog's client can use: {text}") from None

    def _said(self, error: Any) -> str:
        body = error.body
        said = " ".join(str(body if isinstance(body, str) else json.dumps(body, default=str)).split())[:_LONGEST]
        for key in self._keys:
            said = said.replace(key, "***")
        mend = "; are api_key and app_key of this site's organisation, and may they write dashboards and monitors?"
        return f"{self._url} answered with status {error.status}: {said}{mend if error.status in (401, 403) else ''}"


def mark_of(description: str) -> str:
    """What our dashboard is found by, in its description."""
    found = re.search(r"\[predis-agent/\w+\]", description)
    assert found is not None, "a shipped dashboard has no mark"
    return found[0]
