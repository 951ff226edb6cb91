"""`[plugins.redis_metrics]`: which servers, and how to log in. Passwords stay secret in every message."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from agent.api import Duration, PluginConfig, duration_between

SCHEMES = ("redis", "rediss", "unix")


class RedisMetricsConfig(PluginConfig):
    """Servers by URL; `username` and `password` are for those URLs that bring none."""

    urls: tuple[SecretStr, ...] = ()
    username: str = ""
    password: SecretStr = SecretStr("")
    timeout: Annotated[Duration, duration_between("10ms", "1m")] = 1.0

    @field_validator("urls")
    @classmethod
    def _urls_are_servers(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        names = []
        for number, url in enumerate(urls, 1):
            name = server_name(url.get_secret_value())
            if name is None:
                raise ValueError(
                    f"entry {number} is no server's URL; write redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH"
                )
            names.append(name)
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} is there more than once; name each server once")
        return urls


def server_name(url: str) -> str | None:
    """What a server is called in labels: its address, and nothing that is secret. None if this is no server's URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 6379
    except ValueError:  # its text quotes the URL, and with a stray / that can be a piece of the password
        return None
    if parts.scheme not in SCHEMES:
        return None
    if parts.scheme == "unix":
        return parts.path or None
    if not host:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
