"""`[plugins.redis_metrics]`: which servers, and how to log in. Passwords stay secret in every message."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import SplitResult, urlsplit

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
            parts = urlsplit(url.get_secret_value())
            if parts.scheme not in SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
                raise ValueError(
                    f"entry {number} is no server's URL; write redis://HOST:PORT, rediss://… or unix:///PATH"
                )
            names.append(server_name(parts))
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} is there more than once; name each server once")
        return urls


def server_name(url: SplitResult) -> str:
    """What a server is called in labels: its address, and nothing that is secret."""
    if url.scheme == "unix":
        return url.path
    host = url.hostname or ""
    return f"[{host}]:{url.port or 6379}" if ":" in host else f"{host}:{url.port or 6379}"
