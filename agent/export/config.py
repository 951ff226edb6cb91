"""What the tables of all exporters have."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator

from agent.config.models import ConfigPath, OrDefault, PluginConfig
from agent.config.refuse import refuse
from agent.config.show import show
from agent.config.units import Duration, Size, duration_between, size_between


def _fits_a_header(key: SecretStr) -> SecretStr:
    text = key.get_secret_value().strip()
    if not re.fullmatch(r"[!-~]*", text):
        raise refuse("a key has no spaces, line ends or letters with accents", "copy it once more")
    return SecretStr(text)


ApiKey = Annotated[SecretStr, AfterValidator(_fits_a_header)]
"""A vendor's key, as it goes into a header; spaces and line ends around it are left out."""


class ExportConfig(PluginConfig):
    """A table of an exporter that has a destination; the exporter's own model derives from it."""

    endpoint: str = Field(default="", description="another URL than the vendor's: a proxy, a private link, a test")
    ca_file: Annotated[ConfigPath | None, OrDefault] = Field(default=None, description="CAs of the endpoint, PEM")
    timeout: Annotated[Duration, duration_between("100ms", "5m")] = Field(default=10.0, description="of one request")
    compression: Literal["gzip", "zstd", "none"] = "gzip"
    metrics: list[str] = Field(default=["*"], description="shell patterns of the metrics that are exported")
    exclude: list[str] = Field(default=[], description="shell patterns of metrics that are not")
    queue: int = Field(default=100_000, ge=1, le=10_000_000, description="points that wait in memory at most")
    spool: Annotated[Size, size_between("64KiB", "1TiB")] = Field(
        default=64 << 20, description="of the disk, for points that cannot be delivered"
    )
    spool_age: Annotated[Annotated[Duration, duration_between("1m", "52w")] | None, OrDefault] = Field(
        default=None, description="older points are dropped; empty for what the vendor accepts"
    )

    @field_validator("endpoint")
    @classmethod
    def _a_url(cls, endpoint: str) -> str:
        try:
            parts = urlsplit(endpoint)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none, brackets without an address
            usable = False
        if endpoint and not usable:
            raise refuse(
                f"{show(endpoint)} is not the URL of an endpoint", 'write "https://HOST" or "https://HOST:PORT"'
            )
        if parts.username or parts.query:  # which are not shown: they may be a key
            raise refuse("a URL of an endpoint has no user and no query", "a key has a key of its own in this table")
        return endpoint
