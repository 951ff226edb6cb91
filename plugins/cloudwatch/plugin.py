"""The CloudWatch exporter."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from agent.api import (
    Charge,
    Dashboards,
    Destination,
    ExportConfig,
    Host,
    MetricSpec,
    Snapshot,
    VendorError,
    hookimpl,
    require_library,
)
from plugins.cloudwatch.bill import bill
from plugins.cloudwatch.destination import NOT_PASSED, CloudWatchDestination
from plugins.cloudwatch.encode import Encoder
from plugins.cloudwatch.install import CloudWatchDashboards

CHOSEN = [
    "predis_cache_up",
    "predis_connections",
    "predis_connections_rejected_total",
    "predis_error_replies_total",
    "predis_evicted_keys_total",
    "predis_expired_keys_total",
    "predis_gpu_busy_ratio",
    "predis_gpu_memory_used_bytes",
    "predis_gpu_temperature_celsius",
    "predis_host_cpu_busy_ratio",
    "predis_keys",
    "predis_keyspace_hits_total",
    "predis_keyspace_misses_total",
    "predis_memory_max_bytes",
    "predis_memory_used_bytes",
    "predis_network_bytes_total",
    "predis_supervisor_restarts_total",
]
"""Each series costs money by the month: what tells whether the cache does its work, and no series by command."""


class CloudWatchConfig(ExportConfig):
    """`[plugins.cloudwatch]`"""

    enabled: bool = False
    region: str = Field(default="", pattern=r"^[a-z0-9-]*$", description="empty for the SDK's own")
    namespace: str = Field(default="Predis", min_length=1, max_length=255)
    dimensions: dict[str, str] = Field(default={}, description="of every metric")
    resolution: Literal[60, 1] = 60
    compression: Literal["gzip", "none"] = "gzip"
    metrics: list[str] = CHOSEN

    @field_validator("namespace")
    @classmethod
    def _namespace_is_ours(cls, namespace: str) -> str:
        if not re.fullmatch(r"[\w.\-/# ]+", namespace, re.ASCII) or not namespace.strip():
            raise ValueError("a namespace has letters, digits, spaces and . - _ / #")
        if namespace.startswith("AWS/"):
            raise ValueError('namespaces that begin with "AWS/" are Amazon\'s own; take another')
        return namespace

    @field_validator("dimensions")
    @classmethod
    def _dimensions_have_names(cls, dimensions: dict[str, str]) -> dict[str, str]:
        for name in dimensions:
            if not re.fullmatch(r"[!-9;-~][ -~]{0,254}", name):
                raise ValueError(f"{name!r} is no dimension's name: it has printable ASCII and no colon first")
        if len(dimensions) > 20:
            raise ValueError("CloudWatch takes 30 dimensions of a metric, and labels need some: name at most 20")
        return dimensions


class CloudWatchUnusable(VendorError):
    """The exporter cannot start."""


class CloudWatch:
    """Gives the host a destination. `note` says what `status` should show besides the state: where things go."""

    api_version = 1
    Config = CloudWatchConfig

    def __init__(self, config: CloudWatchConfig) -> None:
        self._config = config
        self._session: Any = None
        self._url = self._region = ""
        self._version = ""

    @property
    def note(self) -> str:
        return f"to {self._url}, namespace {self._config.namespace}" if self._url else ""

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return ()

    @hookimpl
    def predis_start(self, host: Host) -> None:
        # Only to learn where CloudWatch is: by region, AWS_ENDPOINT_URL, FIPS, and whatever else boto3 knows of.
        # A session keeps the 9 MB that it read for a client; the one that stays is asked for credentials alone.
        meta = client_of(session_of(self._config), self._config, self._config.endpoint).meta
        self._url, self._region = meta.endpoint_url, meta.region_name
        self._session = session_of(self._config)
        self._version = host.version

    @hookimpl
    def predis_destination(self) -> Destination:
        config = self._config
        return CloudWatchDestination(
            session=self._session,
            url=self._url if urlsplit(self._url).path else f"{self._url}/",
            region=self._region,
            encoder=Encoder(config.namespace, self._constant, config.resolution),
            timeout=config.timeout,
            ca_file=config.ca_file,
            agent=f"predis-agent/{self._version}",
            no_credentials=no_credentials(config),
        )

    @hookimpl
    def predis_dashboards(self, url: str) -> Dashboards:
        config = self._config
        client = client_of(session_of(config), config, url or config.endpoint)
        return CloudWatchDashboards(client, config.namespace, self._constant, no_credentials(config))

    @hookimpl
    def predis_bill(self, snapshot: Snapshot, interval: float) -> Iterable[Charge]:
        return bill(snapshot, interval)

    @property
    def _constant(self) -> dict[str, str]:
        """The dimensions of every metric."""
        return {"host": socket.gethostname(), **self._config.dimensions}


def no_credentials(config: CloudWatchConfig) -> str:
    """What to do where there are none, besides what AWS' own documentation says."""
    return NOT_PASSED if config.isolation == "process" else ""


def session_of(config: CloudWatchConfig) -> Any:
    """A session by the SDK's own chain of credentials and settings. Raises CloudWatchUnusable, or MissingLibrary."""
    require_library("boto3", "boto3", "cloudwatch")
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.session.Session(region_name=config.region or None)
    except BotoCoreError as error:
        raise _cannot_be_set_up(error, config) from None


def client_of(session: Any, config: CloudWatchConfig, url: str) -> Any:
    """A client of CloudWatch that sends each request once. Raises CloudWatchUnusable."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    settings = Config(retries={"total_max_attempts": 1}, connect_timeout=config.timeout, read_timeout=config.timeout)
    verify = None if config.ca_file is None else str(config.ca_file)
    try:
        return session.client("cloudwatch", endpoint_url=url or None, verify=verify, config=settings)
    except (BotoCoreError, ValueError) as error:
        raise _cannot_be_set_up(error, config) from None


def _cannot_be_set_up(error: Exception, config: CloudWatchConfig) -> CloudWatchUnusable:
    from botocore.exceptions import PartialCredentialsError

    mend = "set [plugins.cloudwatch] region, or AWS_REGION; for a profile, AWS_PROFILE"
    if isinstance(error, PartialCredentialsError):
        mend = no_credentials(config) or "give the agent both of them"
    return CloudWatchUnusable(f"boto3 cannot be set up: {error}; {mend}")
