"""The Datadog exporter."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

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
from plugins.datadog.bill import bill
from plugins.datadog.destination import DatadogDestination
from plugins.datadog.encode import Encoder
from plugins.datadog.install import DatadogDashboards
from plugins.datadog.names import LONGEST_TAG, tag


class DatadogConfig(ExportConfig):
    """`[plugins.datadog]`"""

    enabled: bool = False
    api_key: ApiKey = SecretStr("")
    app_key: ApiKey = SecretStr("")
    site: str = Field(default="datadoghq.com", pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")
    host: str = ""
    tags: tuple[str, ...] = ()
    distribution_values: int = Field(default=1000, ge=10, le=100_000)

    @field_validator("tags")
    @classmethod
    def _tags_are_tags(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        for text in tags:
            key, colon, value = text.partition(":")
            if not colon or not value or not key[:1].isalpha() or len(text) > LONGEST_TAG:
                raise ValueError(f'a tag is written "key:value", with a letter first, in {LONGEST_TAG} characters')
        return tuple(tag(*text.split(":", 1)) for text in tags)

    @model_validator(mode="after")
    def _key_is_there(self) -> Self:
        if self.enabled and not self.api_key.get_secret_value():
            raise ValueError('api_key is missing: write api_key = "${env:DD_API_KEY}" or "${file:PATH}"')
        return self


class Datadog:
    """Gives the host a destination. `note` says what `status` should show besides the state: where things go."""

    api_version = 1
    Config = DatadogConfig

    def __init__(self, config: DatadogConfig) -> None:
        self._config = config
        if config.enabled:
            require_library("datadog_api_client", "datadog-api-client", "datadog")

    @property
    def note(self) -> str:
        return f"to {self._config.endpoint or self._config.site}"

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return ()

    @hookimpl
    def predis_destination(self) -> Destination:
        config = self._config
        encoder = Encoder(config.host or socket.gethostname(), config.tags, config.distribution_values)
        url = config.endpoint or url_of(config.site)
        return DatadogDestination(url, config.api_key.get_secret_value(), encoder, config.timeout, config.ca_file)

    @hookimpl
    def predis_dashboards(self, url: str) -> Dashboards:
        config = self._config
        url = url or config.endpoint or url_of(config.site)
        keys = (config.api_key.get_secret_value(), config.app_key.get_secret_value())
        return DatadogDashboards(url, *keys, config.timeout, config.ca_file)

    @hookimpl
    def predis_bill(self, snapshot: Snapshot) -> Iterable[Charge]:
        return bill(snapshot)


def url_of(site: str) -> str:
    """Where the API of a site is, as Datadog's client has it."""
    from datadog_api_client.configuration import Configuration

    # The third of its lists of servers has any site, the first only those that were known when it was released.
    return str(Configuration().get_host_from_settings(2, {"site": site}))
