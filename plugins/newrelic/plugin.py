"""The New Relic exporter."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from agent.api import (
    ApiKey,
    Charge,
    Dashboards,
    Destination,
    ExportConfig,
    MetricSpec,
    Snapshot,
    hookimpl,
    require_library,
)
from plugins.newrelic.bill import bill
from plugins.newrelic.destination import NewRelicDestination
from plugins.newrelic.encode import Encoder
from plugins.newrelic.install import NewRelicDashboards


class NewRelicConfig(ExportConfig):
    """`[plugins.newrelic]`"""

    enabled: bool = False
    license_key: ApiKey = SecretStr("")
    user_key: ApiKey = SecretStr("")
    region: Literal["us", "eu"] = "us"
    account_id: str = Field(default="", pattern=r"^\d*$")
    host: str = ""
    attributes: dict[str, str] = Field(default={}, max_length=50)
    histogram_buckets: bool = False

    @model_validator(mode="after")
    def _key_is_there(self) -> Self:
        if self.enabled and not self.license_key.get_secret_value():
            raise ValueError(
                'license_key is missing: write license_key = "${env:NEW_RELIC_LICENSE_KEY}" or "${file:PATH}"'
            )
        return self


class NewRelic:
    """Gives the host a destination. `note` says what `status` should show besides the state: where things go."""

    api_version = 1
    Config = NewRelicConfig

    def __init__(self, config: NewRelicConfig) -> None:
        self._config = config
        if config.enabled:
            require_library("newrelic_telemetry_sdk", "newrelic-telemetry-sdk", "newrelic")

    @property
    def note(self) -> str:
        where = f"to {self._config.endpoint or self._config.region}"
        return where if self._config.account_id else f"{where}; no events, since there is no account_id"

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return ()

    @hookimpl
    def predis_destination(self) -> Destination:
        config, encoder = self._config, self._encoder()
        urls = urls_of(config.region, config.endpoint, config.account_id)
        return NewRelicDestination(urls, config.license_key.get_secret_value(), encoder, config.timeout, config.ca_file)

    @hookimpl
    def predis_dashboards(self, url: str) -> Dashboards:
        config = self._config
        eu = "https://api.eu.newrelic.com"
        url = url or config.endpoint or (eu if config.region == "eu" else "https://api.newrelic.com")
        key = config.user_key.get_secret_value()
        return NewRelicDashboards(url, config.account_id, key, config.timeout, config.ca_file)

    @hookimpl
    def predis_bill(self, snapshot: Snapshot, interval: float) -> Iterable[Charge]:
        return bill(snapshot, interval, self._encoder)

    def _encoder(self) -> Encoder:
        config = self._config
        host = config.host or socket.gethostname()
        return Encoder({"host.name": host, **config.attributes}, config.histogram_buckets)


def urls_of(region: str, endpoint: str, account_id: str) -> dict[str, str]:
    """Where each lane goes: to the SDK's hosts, to those of the EU, or all to `endpoint`. No events without account."""
    from newrelic_telemetry_sdk import EventClient, MetricClient, SpanClient

    clients = {"metrics": MetricClient, "events": EventClient, "traces": SpanClient}
    hosts = {lane: f"https://{client.HOST}" for lane, client in clients.items()}
    if region == "eu":
        hosts = {
            "metrics": "https://metric-api.eu.newrelic.com",
            "events": "https://insights-collector.eu01.nr-data.net",
            "traces": "https://trace-api.eu.newrelic.com",
        }
    if endpoint:
        hosts = dict.fromkeys(hosts, endpoint.rstrip("/"))
    paths = {lane: client.PATH for lane, client in clients.items()}
    paths["events"] = f"/v1/accounts/{account_id}/events"  # the SDK's path leaves the account out
    return {lane: host + paths[lane] for lane, host in hosts.items() if lane != "events" or account_id}
