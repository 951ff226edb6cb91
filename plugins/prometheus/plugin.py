"""The Prometheus exporter: serves the newest snapshot as protobuf, OpenMetrics or text, as the scraper asks for it."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from agent.api import (
    ConfigPath,
    Dashboards,
    Duration,
    Host,
    Kind,
    MetricSpec,
    OrDefault,
    PluginConfig,
    Port,
    Sample,
    Snapshot,
    duration_between,
    hookimpl,
)
from plugins.prometheus.grafana import GrafanaDashboards
from plugins.prometheus.scrape import Newest, application
from plugins.prometheus.server import MetricsServer

GRAFANA_TIMEOUT = 30.0  # seconds of one request
SCRAPES = MetricSpec("predis_prometheus_scrapes_total", Kind.counter, "Times that the exporter was scraped.")


class PrometheusConfig(PluginConfig):
    """`[plugins.prometheus]`"""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: Port = 9090
    native_histograms: bool = True
    grafana_url: str = ""
    grafana_token: SecretStr = SecretStr("")
    grafana_datasource: str = ""
    grafana_folder: str = ""
    grafana_ca_file: Annotated[ConfigPath | None, OrDefault] = None
    stale_after: Annotated[Duration, duration_between("1s", "1d")] = 300.0

    @field_validator("grafana_url")
    @classmethod
    def _it_is_a_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query):
            raise ValueError("write https://HOST:PORT, with a path if need be; a token does not belong into it")
        return url


class CannotListen(Exception):
    """The exporter's address cannot be had."""


class Prometheus:
    """Serves http://HOST:PORT/metrics. `note` says what `status` should show besides the state: where it is."""

    api_version = 1
    Config = PrometheusConfig

    def __init__(self, config: PrometheusConfig) -> None:
        self._config = config
        self._newest = Newest(config.stale_after, config.native_histograms)
        self._server: MetricsServer | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; of use where the configured one is 0, any that is free."""
        return self._server.port if self._server is not None else self._config.port

    @property
    def note(self) -> str:
        return self.url if self._server is not None else ""

    @property
    def url(self) -> str:
        """What to scrape."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"http://{host}:{self.port}/metrics"

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return (SCRAPES,)

    @hookimpl
    def predis_start(self, host: Host) -> None:
        try:
            self._server = MetricsServer(self._config.host, self._config.port, application(self._newest))
        except OSError as error:
            mend = "set [plugins.prometheus] host to an address of this machine"
            if error.errno == errno.EADDRINUSE:
                mend = "stop the program that listens there, or set [plugins.prometheus] port to a free one"
            elif error.errno == errno.EACCES:
                mend = "set [plugins.prometheus] port to one that needs no privilege, above 1023"
            raise CannotListen(f"cannot listen on {self.url}: {error.strerror or error}; {mend}") from None
        host.logger.info("metrics are on %s", self.url)

    @hookimpl
    def predis_stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    @hookimpl
    def predis_collect(self) -> Iterable[Sample]:
        return [Sample(SCRAPES.name, self._newest.scrapes)]

    @hookimpl
    def predis_export(self, snapshot: Snapshot) -> None:
        self._newest.show(snapshot)

    @hookimpl
    def predis_dashboards(self, url: str) -> Dashboards:
        config = self._config
        return GrafanaDashboards(
            url or config.grafana_url,
            config.grafana_token.get_secret_value(),
            config.grafana_datasource,
            config.grafana_folder,
            GRAFANA_TIMEOUT,
            config.grafana_ca_file,
        )
