"""The OTLP exporter."""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from agent.api import Destination, ExportConfig, Host, MetricSpec, hookimpl, require_library

_INSTANCES = uuid.UUID("4d63009a-8d0f-11ee-aad7-4c796ed8e320")
"""The namespace of service.instance.id: https://opentelemetry.io/docs/specs/semconv/registry/attributes/service/"""
_OURS = {"content-type", "content-encoding", "content-length", "host"}


class OtlpConfig(ExportConfig):
    """`[plugins.otlp]`"""

    enabled: bool = False
    endpoint: str = "http://127.0.0.1:4318"
    headers: dict[str, SecretStr] = Field(default={}, description="of every request")
    resource: dict[str, str] = Field(default={}, description="attributes of all that is sent")
    naming: Literal["semconv", "predis"] = Field(default="semconv", description="what metrics are called")
    compression: Literal["gzip", "none"] = "gzip"

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_of_all_signals(cls, endpoint: str) -> str:
        if not endpoint:
            raise ValueError("write http://HOST:PORT or https://HOST:PORT: OTLP has no vendor of its own")
        if urlsplit(endpoint).path.rstrip("/").endswith(("/v1/metrics", "/v1/traces", "/v1/logs")):
            raise ValueError("leave out /v1/metrics and the like: the agent adds them")
        return endpoint

    @field_validator("headers")
    @classmethod
    def _headers_are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or name.lower() in _OURS:
                raise ValueError(f"{name!r} cannot be the name of a header here")
            if not re.fullmatch(r"[\t -~]*", value.get_secret_value()):
                raise ValueError(f"the value of {name} has a line end, or a letter that headers do not have")
        return headers


class OtlpUnusable(Exception):
    """The exporter cannot start."""


class Otlp:
    """Gives the host a destination. `note` says what `status` should show besides the state: where things go."""

    api_version = 1
    Config = OtlpConfig

    def __init__(self, config: OtlpConfig) -> None:
        self._config = config
        self._host: Host | None = None

    @property
    def note(self) -> str:
        return f"to {self._config.endpoint}"

    @hookimpl
    def predis_metric_specs(self) -> Sequence[MetricSpec]:
        return ()

    @hookimpl
    def predis_start(self, host: Host) -> None:
        require_library("opentelemetry.proto", "opentelemetry-exporter-otlp-proto-http", "otlp")
        self._host = host

    @hookimpl
    def predis_destination(self) -> Destination:
        # Not above: they need OpenTelemetry, which only who exports to it has.
        from plugins.otlp.destination import OtlpDestination

        if self._host is None:
            raise OtlpUnusable("predis_destination() was called before predis_start()")
        config, name = self._config, socket.gethostname()
        resource = {
            "service.name": "predis-agent",
            "service.instance.id": str(uuid.uuid5(_INSTANCES, f"{name}{self._host.data_dir}")),
            "service.version": self._host.version,
            "host.name": name,
            **config.resource,
        }
        return OtlpDestination(
            config.endpoint,
            {name: value.get_secret_value() for name, value in config.headers.items()},
            {name: value for name, value in resource.items() if value},
            self._host.version,
            semconv=config.naming == "semconv",
            timeout=config.timeout,
            ca_file=config.ca_file,
        )
