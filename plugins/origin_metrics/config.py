"""`[plugins.origin_metrics]`: which origins are probed, and how long one may take."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from agent.api import ConfigPath, Duration, OrDefault, PluginConfig, Section, duration_between

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
PORTS = {"http": 80, "https": 443, "tcp": 0}


class Origin(Section):
    """What is probed: http:// and https:// are asked with GET, to tcp://HOST:PORT it is only connected."""

    url: SecretStr
    timeout: Annotated[Duration, duration_between("10ms", "1m")] = 2.0
    ca_file: Annotated[ConfigPath | None, OrDefault] = None

    @field_validator("url")
    @classmethod
    def _is_an_origin(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        try:
            parts = urlsplit(text)
            fits = parts.scheme in PORTS and bool(parts.hostname) and bool(parts.port or PORTS[parts.scheme])
        except ValueError:  # its text quotes the URL, which may hold a token
            fits = False
        if not fits or not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(
                "that is no origin's URL; write http://HOST:PORT/PATH, https://HOST/PATH or tcp://HOST:PORT"
            )
        if "@" in parts.netloc:
            raise ValueError("an origin is probed without a password: take the part before the @ out of the URL")
        return url


class OriginMetricsConfig(PluginConfig):
    """Origins by the name that they have in labels."""

    origins: dict[Name, Origin] = Field(default={}, max_length=100)
