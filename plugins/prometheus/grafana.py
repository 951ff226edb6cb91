"""Installs the dashboard in Grafana through its HTTP API. Its uid is fixed, by which Grafana tells old from new."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.api import Asset, JsonApi, VendorError

FOLDER = Path(__file__).parent / "dashboards"
_RULES = "copy the file to Prometheus' machine and name it in prometheus.yml under rule_files"


class GrafanaDashboards:
    """The dashboard of this folder at `url`, with a service account's token, which stands in one header only.

    `datasource` is the uid of the data source that it opens with, `folder` that of its folder.
    """

    vendor = "grafana"

    def __init__(
        self, url: str, token: str, datasource: str, folder: str, timeout: float, ca_file: Path | None
    ) -> None:
        self._token, self._datasource, self._folder = token, datasource, folder
        self._api = JsonApi(url, {"Authorization": f"Bearer {token}"}, timeout, ca_file)

    @property
    def where(self) -> str:
        return self._api.url or "grafana_url is not set"

    def assets(self) -> Sequence[Asset]:
        overview = FOLDER / "overview.json"
        dashboard = json.loads(overview.read_text(encoding="utf-8"))
        if self._datasource:
            (variable,) = (one for one in dashboard["templating"]["list"] if one["type"] == "datasource")
            variable["current"] = {"text": self._datasource, "value": self._datasource}
        return [
            Asset("dashboard", dashboard["uid"], dashboard["title"], overview, dashboard),
            Asset("alert rules", "alerts", "Predis: alert rules of Prometheus", FOLDER / "alerts.yml", by_hand=_RULES),
        ]

    def find(self, asset: Asset) -> str | None:
        return asset.key if self._found(asset) is not None else None

    def put(self, asset: Asset, found: str | None) -> str:
        document: dict[str, Any] = {"dashboard": {**asset.body, "id": None}, "overwrite": True}
        document["message"] = "installed by predis-agent"
        # Without a folder, Grafana would move one that is there to the root.
        folder = self._folder or (self._found(asset) or {}).get("folderUid")
        if folder:
            document["folderUid"] = folder
        made = self._api.call("POST", "/api/dashboards/db", document)
        return f"{self._api.url}{made['url']}" if isinstance(made, dict) and "url" in made else asset.key

    def close(self) -> None:
        self._api.close()

    def _found(self, asset: Asset) -> dict[str, Any] | None:
        """What Grafana's search says of the dashboard of this uid. Before version 9 it gives all dashboards."""
        if not self._api.url:
            raise VendorError("grafana_url is missing: write it into [plugins.prometheus], or give it with --url")
        if not self._token:
            mend = 'write grafana_token = "${env:GRAFANA_TOKEN}" into [plugins.prometheus]: a service account\'s token'
            raise VendorError(f"grafana_token is missing: {mend}, of the role Editor")
        hits = self._api.call("GET", f"/api/search?type=dash-db&dashboardUIDs={asset.key}")
        return next((hit for hit in hits if isinstance(hit, dict) and hit.get("uid") == asset.key), None)
